"""choose: check all of params.yaml before anything is fetched or computed."""

from reward.harness.stage import run

from pathlib import Path

from reward.evaluation.settings import Checks, Evaluate
from reward.harness.errors import InputError
from reward.harness.files import write_json
from reward.harness.params import PUT_BACK, Seconds, Seed, WholeFile, missing_key, pick
from reward.pairs.settings import Download, Split
from reward.sources.backbones import Backbone
from reward.sources.catalogue import DatasetEntry, Testset, TestsetName
from reward.tokens.settings import MaxLength, Stats, Tokenize
from reward.training.settings import States, Trackers, Train


class ChooseParams(WholeFile):
    """Everything in params.yaml."""

    dataset: str
    datasets: dict[str, DatasetEntry]
    backbone: str
    backbones: dict[str, Backbone]
    max_length: MaxLength
    seed: Seed
    launcher: str
    process_timeout: Seconds
    report_to: Trackers
    download: Download
    split: Split
    tokenize: Tokenize
    states: States
    stats: Stats
    train: Train
    testsets: dict[TestsetName, Testset]
    evaluate: Evaluate
    checks: Checks


def choose(params: ChooseParams, chosen: Path) -> None:
    """Check all of params.yaml before anything is fetched or computed.

    chosen: JSON file for the names of the dataset and the backbone in use.

    Raises InputError where one of both is no entry of its catalogue; a key that is unknown or
    missing and a value that is not valid are found when the file is read. DVC itself looks for the
    chosen entries when it comes to download, and would say less.
    """
    pick(params.datasets, "dataset", params.dataset)
    backbone = pick(params.backbones, "backbone", params.backbone)
    for key in ("layers", "trained_layers"):  # optional to Backbone, and not to DVC
        if key not in backbone.model_fields_set:
            lacks = missing_key(f"backbones.{params.backbone}.{key}")
            raise InputError(f"{lacks}; {PUT_BACK}.")
    write_json(chosen, {"dataset": params.dataset, "backbone": params.backbone})


if __name__ == "__main__":
    run(choose, ChooseParams)
