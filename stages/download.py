"""download: fetch pairs and backbone, keep the valid pairs, record where everything came from."""

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from reward.backbone import fetch_backbone
from reward.catalogue import Backbone, Dataset, DatasetEntry
from reward.duplicates import Ledger
from reward.intake import Intake, Tally, judge_repeats
from reward.preferences import BATCH_ROWS, SCHEMA, read_batches, to_batch
from reward.quality import Quality
from reward.rows import Tolerance
from reward.stage import InputError, Params, pick, run, whole, write_json


class Download(Params):
    """The section `download` of params.yaml."""

    unreadable_rows: int = Field(ge=0)
    """Lines of all files together that may be left out because they cannot be read."""
    quality: Quality


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
    """Write the chosen dataset's valid pairs to `raw` and the chosen backbone to `backbone`.

    `raw` gets pairs.parquet (SCHEMA of reward.preferences, in the source's order) and source.json.
    Memory holds some numbers per pair (reward.duplicates) and one batch of rows.
    Raises InputError with one sentence for whatever the user can mend; then neither is written.
    """
    entry = pick(params.datasets, "dataset", params.dataset)
    model = pick(params.backbones, "backbone", params.backbone)
    with whole(raw) as pairs_folder, whole(backbone) as backbone_folder:
        pairs_folder.mkdir()
        fetch_pairs(params.download, entry.parts(params.dataset), pairs_folder)
        backbone_folder.mkdir()
        weights = fetch_backbone(model, backbone_folder)
        said = ", ".join(weights) or "none; they will be initialised from its config"
        print(f"{model.source}: weights {said}", file=sys.stderr)


def fetch_pairs(params: Download, parts: dict[str, Dataset], folder: Path) -> None:
    """Fill `folder` (data/raw) from the datasets of a catalogue entry, by name.

    Raises InputError where one of them has no valid pair.
    """
    tolerance = Tolerance(params.unreadable_rows)
    intakes = [Intake(name, part, tolerance) for name, part in parts.items()]
    pairs = folder / "pairs.parquet"
    ledger = write_pairs(params.quality, intakes, pairs)
    dropped = judge_repeats(params.quality, intakes, ledger)
    if dropped.any():
        rewrite(pairs, ~dropped)
    for intake in intakes:
        print(f"{intake.entry.source}: {intake.tally}", file=sys.stderr)
        if intake.tally.pairs == 0:
            raise InputError(
                f"{intake.entry.source} has no valid pair ({intake.tally}): correct it or choose "
                f"other data."
            )
    write_json(folder / "source.json", record(intakes))


def write_pairs(quality: Quality, intakes: list[Intake], pairs: Path) -> Ledger:
    """Write the pairs of all datasets, one after the other; returns the ledger of what is there."""
    ledger = Ledger()
    with pq.ParquetWriter(pairs, SCHEMA, compression="zstd") as writer:
        for number, intake in enumerate(intakes):
            kept = intake.pairs(quality, pairs.parent)
            while chunk := list(islice(kept, BATCH_ROWS)):
                for row, pair, problems in chunk:
                    ledger.add(pair, number, row, problems)
                writer.write_batch(to_batch([one.pair for one in chunk], intake.name))
    return ledger


def rewrite(pairs: Path, kept: NDArray[np.bool_]) -> None:
    """Leave only the kept pairs in a file of preferences."""
    start = 0
    with (
        whole(pairs) as partial,
        pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer,
    ):
        for batch in read_batches(pairs, SCHEMA.names):
            writer.write_batch(batch.filter(pa.array(kept[start : start + len(batch)])))
            start += len(batch)


def record(intakes: list[Intake]) -> dict[str, Any]:
    """What source.json says: where each dataset came from and what became of its rows."""
    return Tally.total([intake.tally for intake in intakes]).counts() | {
        "sources": {intake.name: intake.origin() | intake.tally.counts() for intake in intakes}
    }


if __name__ == "__main__":
    run(download, DownloadParams)
