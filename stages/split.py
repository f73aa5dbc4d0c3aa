"""split: hold out whole prompts for validation, the same ones whatever the order of the rows."""

from reward.harness.stage import run

import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.harness.files import replacing, write_json
from reward.harness.params import Params, Seed
from reward.harness.tables import parquet_writer, read_batches
from reward.pairs.groups import first_of_group
from reward.pairs.near_duplicates import Index, Signatures, signatures
from reward.pairs.partitions import partitioned
from reward.pairs.preference import BATCH_ROWS, SCHEMA, prompt_keys
from reward.pairs.settings import Split

SIDES = ("train", "validation")
# What the pairs of a side are sorted by: first the lowest pair_id of those that share rated answers
# (K answers to one prompt), which for most is their own; what follows only orders kept duplicates.
ORDER = ("group", "pair_id", "source", "chosen_rating", "rejected_rating")
SORTED = SCHEMA.append(pa.field("group", pa.string()))
PARTITION_ROWS = 20_000  # pairs sorted in memory at once; more where MOST_PARTITIONS do not suffice
MOST_PARTITIONS = 100  # of each side; all of both sides are open at once


class SplitParams(Params):
    """What split reads from params.yaml."""

    seed: Seed
    split: Split


def split(params: SplitParams, raw: Path, splits: Path) -> None:
    """Hold out whole prompts: write train.parquet and validation.parquet, sorted by pair_id.

    raw: folder that download wrote. splits: folder for both files and near_duplicates.json.

    Pairs that share a rated answer stand together (reward.pairs.groups). No prompt, compared by
    reward.pairs.preference.prompt_key, is on both sides. Memory holds eight bytes per pair, some
    hundred more where its prompt has other pairs, and 256 per validation pair for near duplicates.

    Raises InputError where there is only one prompt, or where dropping near duplicates leaves none.
    """
    pairs = raw / "pairs.parquet"
    groups = _groups(pairs, params.seed)
    held_out = validation_groups(groups, params.split.validation_share)
    is_validation = np.isin(groups, held_out)
    is_train = ~is_validation
    counts: dict[str, Any] = {"dropped": 0}
    if params.split.near_duplicates != "ignore":
        near, counts = near_duplicates(pairs, is_validation, params.split)
        if params.split.near_duplicates == "drop":
            is_train &= ~near
    if not is_train.any():
        raise InputError(
            f"Every training prompt is nearly a validation prompt (similarity "
            f"{params.split.similarity}): raise split.similarity or set split.near_duplicates to "
            f"count."
        )
    with replacing(splits) as folder:
        folder.mkdir()
        _write(pairs, first_of_group(pairs, groups), (is_train, is_validation), folder)
        write_json(folder / "near_duplicates.json", counts)
    print(
        f"{is_train.sum():,} pairs to train, {is_validation.sum():,} to validate", file=sys.stderr
    )


def _groups(pairs: Path, seed: int) -> NDArray[np.uint64]:
    """The prompt of each pair as a hash keyed by the seed, in the file's order."""
    key = str(seed).encode()
    digests = bytearray()
    for turns in prompt_keys(pairs):
        digests += blake2b(turns, digest_size=8, key=key).digest()
    return np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64)


def validation_groups(groups: NDArray[np.uint64], share: float) -> NDArray[np.uint64]:
    """The groups to hold out, taken in the order of their hashes while they fit into the share.

    `groups` has the group of each pair. Together those held out have round(share * pairs) pairs,
    or as close to it as whole groups come; each side gets one group at least.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise InputError(
            "All pairs have the same prompt, and a prompt goes to one side as a whole: give data "
            "with two different prompts at least."
        )
    room = min(max(round(share * len(groups)), 1), len(groups) - 1)
    taken = np.zeros(len(names), dtype=bool)
    for index, size in enumerate(sizes.tolist()):
        if size <= room:
            taken[index] = True
            room -= size
    # None of the other groups fits; taking the smallest may still come closer to the target.
    left = np.flatnonzero(~taken)
    smallest = left[sizes[left].argmin()]
    if not taken.any() or (sizes[smallest] - room < room and len(left) > 1):
        taken[smallest] = True
    return names[taken]


def near_duplicates(
    pairs: Path, is_validation: NDArray[np.bool_], params: Split
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Which training pairs have a prompt that is nearly a validation prompt, and their counts."""
    index = Index(_signatures(pairs, is_validation, "index"), params.similarity)
    near = np.zeros(len(is_validation), dtype=np.bool_)
    train = np.flatnonzero(~is_validation)
    start = 0
    for batch in _signatures(pairs, ~is_validation, "search"):
        near[train[start : start + len(batch)]] = index.near(batch)
        start += len(batch)
    count = int(near.sum())
    return near, {
        "similarity": params.similarity,
        "train_pairs": count,
        "share_of_train": count / len(train),
        "validation_pairs": index.met,
        "share_of_validation": index.met / int(is_validation.sum()),
        "dropped": count if params.near_duplicates == "drop" else 0,
    }


def _signatures(pairs: Path, wanted: NDArray[np.bool_], task: str) -> Iterator[Signatures]:
    """The signatures of the wanted pairs' prompts; `task` labels the progress bar."""
    start = 0
    with tqdm(
        desc=f"split: {task}", total=len(wanted), unit=" pairs", unit_scale=True, disable=None
    ) as progress:
        for batch in read_batches(pairs, BATCH_ROWS, ["prompt"]):
            chosen = batch.filter(pa.array(wanted[start : start + len(batch)]))
            start += len(batch)
            progress.update(len(batch))
            if len(chosen):
                yield signatures(chosen["prompt"].to_pylist())


def _write(
    pairs: Path, firsts: dict[int, str], wanted: tuple[NDArray[np.bool_], ...], folder: Path
) -> None:
    """Write each side sorted: the pairs go into partitions by the first digits of their groups, and
    the partitions are sorted one at a time.
    """
    count = min(max(len(wanted[0]) // PARTITION_ROWS, 1), MOST_PARTITIONS)
    rows = _numbered(pairs, firsts, wanted, count)
    with partitioned(rows, SORTED, count * len(SIDES), folder) as read:
        for side, name in enumerate(SIDES):
            with parquet_writer(folder / f"{name}.parquet", SCHEMA) as writer:
                for number in range(side * count, (side + 1) * count):
                    table = read(number).sort_by([(key, "ascending") for key in ORDER])
                    writer.write_table(table.select(SCHEMA.names), row_group_size=BATCH_ROWS)


def _numbered(
    pairs: Path, firsts: dict[int, str], wanted: tuple[NDArray[np.bool_], ...], count: int
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    """The pairs of each side, each with the number of its partition, which rises with its group."""
    start = 0
    for batch in read_batches(pairs, BATCH_ROWS):
        stop = start + len(batch)
        groups = batch["pair_id"]
        if firsts:
            own = enumerate(groups.to_pylist(), start)
            groups = pa.array([firsts.get(row, pair_id) for row, pair_id in own], pa.string())
        digits = pc.utf8_slice_codeunits(groups, 0, 8).to_pylist()
        places = np.array([int(first, 16) * count >> 32 for first in digits], dtype=np.int64)
        batch = pa.record_batch([*batch.columns, groups], schema=SORTED)
        for side, rows in enumerate(wanted):
            mine = rows[start:stop]
            yield batch.filter(pa.array(mine)), side * count + places[mine]
        start = stop


if __name__ == "__main__":
    run(split, SplitParams)
