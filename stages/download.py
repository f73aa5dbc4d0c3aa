"""download: fetch pairs and backbone, keep the valid pairs, record where everything came from."""

from reward.harness.stage import run

import sys
from pathlib import Path
from typing import Any

from reward.harness.errors import InputError
from reward.harness.files import replacing, write_json
from reward.harness.params import Params, pick
from reward.pairs.intake import Intake, write_pairs
from reward.pairs.quality import HoldsControl
from reward.pairs.rows import Tolerance
from reward.pairs.settings import Download, Quality
from reward.pairs.tally import Tally
from reward.sources.backbones import Backbone, fetch_backbone
from reward.sources.catalogue import DatasetEntry
from reward.tokens.control_tokens import ControlTokens
from reward.tokens.encoder import Encoder, NoEmbeddingError
from reward.tokens.rendering import RefusedError


class DownloadParams(Params):
    """What download reads from params.yaml."""

    dataset: str
    """The entry of `datasets` in use."""
    datasets: dict[str, DatasetEntry]
    backbone: str
    """The entry of `backbones` in use."""
    backbones: dict[str, Backbone]
    download: Download


def download(params: DownloadParams, raw: Path, backbone: Path) -> None:
    """Write the chosen dataset's valid pairs and the chosen backbone.

    raw: folder for the pairs, and the record of where they came from. backbone: folder for config,
    tokenizer and, of a local backbone, weights.

    `raw` gets pairs.parquet (reward.pairs.preference.SCHEMA, in the source's order) and
    source.json. Raises InputError with one sentence for whatever the user can mend; then neither is
    written.
    """
    dataset_entry = pick(params.datasets, "dataset", params.dataset)
    backbone_entry = pick(params.backbones, "backbone", params.backbone)
    quality, source = params.download.quality, backbone_entry.source
    with replacing(raw) as pairs_folder, replacing(backbone) as backbone_folder:
        # What can be told without a backbone's weights, which may be large, is told before them.
        tolerance = Tolerance(params.download.unreadable_rows)
        parts = dataset_entry.parts(params.dataset)
        intakes = [Intake(name, entry, tolerance) for name, entry in parts.items()]
        backbone_folder.mkdir()

        def read_pairs() -> None:
            check_tokens(backbone_folder, source)
            encoder = Encoder(backbone_folder, source)
            holds_control = None if quality.control_tokens == "ignore" else ControlTokens(encoder)
            pairs_folder.mkdir()
            write_raw(quality, holds_control, intakes, pairs_folder)

        weights = fetch_backbone(backbone_entry, backbone_folder, read_pairs)
        names = ", ".join(weights) or "none; they will be initialised from its config"
        print(f"{source}: weights {names}", file=sys.stderr)


def check_tokens(backbone: Path, source: str) -> None:
    """Raise InputError where what the chat template writes around turns has no embedding.

    So it is where tokens were added to a tokenizer, and the embeddings were not resized to it.
    """
    try:
        Encoder(backbone, source).encode([[{"role": "user", "content": "?"}]], [["!"]])
    except NoEmbeddingError as error:
        raise InputError(
            f"The backbone {source} has fewer embeddings than its tokenizer has tokens, of which "
            f"its chat template writes some: resize the embeddings (transformers' "
            f"resize_token_embeddings) and save it again, or choose another. {error}"
        ) from None
    except RefusedError:
        return  # a template may refuse this conversation and take others


def write_raw(
    quality: Quality, holds_control: HoldsControl | None, intakes: list[Intake], folder: Path
) -> None:
    """Fill `folder` (data/raw) from datasets.

    holds_control: see reward.pairs.quality.judge.
    Raises InputError where one of them cannot be read or has no valid pair.
    """
    write_pairs(quality, holds_control, intakes, folder / "pairs.parquet")
    for intake in intakes:
        intake.print_tally()
    write_json(folder / "source.json", provenance(intakes))


def provenance(intakes: list[Intake]) -> dict[str, Any]:
    """The content of source.json: where each dataset came from and what became of its rows."""
    return Tally.total([intake.tally for intake in intakes]).counts() | {
        "sources": {intake.name: intake.origin() | intake.tally.counts() for intake in intakes}
    }


if __name__ == "__main__":
    run(download, DownloadParams)
