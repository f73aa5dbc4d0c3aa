"""choose: check every name in params.yaml before anything is fetched or computed."""

from reward.harness.stage import run

from pathlib import Path
from typing import Any

from reward.harness.errors import InputError
from reward.harness.files import write_json
from reward.harness.params import WholeFile, missing_key, pick, unknown_key
from reward.sources.backbones import Backbone
from reward.sources.catalogue import DatasetEntry, Testset

DEVICES = "cpu mps cuda"
# The keys of each section of params.yaml. Values are the business of the stages that read them, and
# some of those take seconds to import; a test compares these keys with their parameter classes.
KEYS = {
    "download": "unreadable_rows quality",
    "download.quality": "empty_prompt empty_response identical_responses tie "
    "rating_contradicts_order earlier_turns_differ repeats_prompt control_characters "
    "replacement_characters control_tokens contradiction duplicate",
    "split": "validation_share near_duplicates similarity",
    "tokenize": "prompt_floor refused",
    "states": "micro_batch_tokens most_gigabytes depths folds head_strength confidence",
    "states.micro_batch_tokens": DEVICES,
    "stats": "bin_width last_bin",
    "train": "epochs batch_pairs micro_batch_tokens learning_rate seed warmup_ratio schedule "
    "weight_decay max_grad_norm activation_checkpointing loss weighting centring checkpoint_steps "
    "evaluate_steps patience normalise_pairs",
    "train.micro_batch_tokens": DEVICES,
    "evaluate": "micro_batch_tokens confidence calibration_bins rating_gaps response_lengths "
    "similar_length bag_of_words_strength bag_of_words_pairs",
    "evaluate.micro_batch_tokens": DEVICES,
    "checks": "pairs filler_sentences micro_batch_tokens confidence resamples",
    "checks.micro_batch_tokens": DEVICES,
}


class ChooseParams(WholeFile):
    """Everything in params.yaml."""

    dataset: str
    datasets: dict[str, DatasetEntry]
    backbone: str
    backbones: dict[str, Backbone]
    max_length: Any
    seed: Any
    launcher: Any
    process_timeout: Any
    report_to: Any
    download: dict[str, Any]
    split: dict[str, Any]
    tokenize: dict[str, Any]
    states: dict[str, Any]
    stats: dict[str, Any]
    train: dict[str, Any]
    testsets: dict[str, Testset]
    evaluate: dict[str, Any]
    checks: dict[str, Any]


def choose(params: ChooseParams, chosen: Path) -> None:
    """Check every name in params.yaml before anything is fetched or computed.

    chosen: JSON file for the names of the dataset and the backbone in use.

    Raises InputError where one of both is no entry of its catalogue, where a key is unknown or
    missing, and where a value within an entry is not valid. DVC itself looks for the chosen entries
    when it comes to download, and would say less.
    """
    pick(params.datasets, "dataset", params.dataset)
    backbone = pick(params.backbones, "backbone", params.backbone)
    for key in ("layers", "trained_layers"):  # optional to Backbone, and not to DVC
        if key not in backbone.model_fields_set:
            raise InputError(missing_key(f"backbones.{params.backbone}.{key}"))
    check_sections(params.model_dump())
    write_json(chosen, {"dataset": params.dataset, "backbone": params.backbone})


def check_sections(values: dict[str, Any]) -> None:
    """Raise InputError for a key that is not one of KEYS, and for one that is missing."""
    for section, names in KEYS.items():
        known, found = names.split(), values
        for part in section.split("."):
            found = found[part]
        if not isinstance(found, dict):
            raise InputError(
                f"{section}={found!r} in params.yaml is not valid: its keys are "
                f"{', '.join(known)}; give each a value."
            )
        for key in found:
            if key not in known:
                raise InputError(unknown_key(f"{section}.{key}", known))
        for key in known:
            if key not in found:
                raise InputError(missing_key(f"{section}.{key}"))


if __name__ == "__main__":
    run(choose, ChooseParams)
