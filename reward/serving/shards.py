"""Many Parquet files scored at once, each into a file of its own that is complete or not there."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from reward.harness.engine import InOrder
from reward.harness.errors import InputError, first_line
from reward.harness.faults import is_of_the_machine
from reward.harness.files import check_output, replacing
from reward.harness.tables import open_parquet, parquet_writer
from reward.serving.batch import CHUNK_ROWS, BatchScorer, scored_schema
from reward.serving.questions import columns_for


def is_many(source: Path) -> bool:
    """Whether a path stands for many files: a folder, or a pattern that is no file's name."""
    return source.is_dir() or (any(mark in str(source) for mark in "*?[") and not source.exists())


class Shard(NamedTuple):
    """A Parquet file to be scored."""

    path: Path
    rows: int
    schema: pa.Schema
    """That of its rows with their rewards."""


def find_shards(source: Path, output: Path) -> list[Shard]:
    """The Parquet files that a folder, a pattern or a file's name stands for, in order of names.

    Raises InputError, naming the file, where there is none, where one is no Parquet file or has no
    columns to be scored, and where the files cannot be written to the folder `output`.
    """
    if is_many(source):
        pattern = source / "*.parquet" if source.is_dir() else source
        root = Path(pattern.anchor)
        found = sorted(p for p in root.glob(str(pattern.relative_to(root))) if p.is_file())
    else:
        found = [source]
    if not found:
        raise InputError(f"{source} stands for no Parquet file: correct it.")
    shards: dict[str, Shard] = {}
    for shard in found:
        if not shard.is_file():
            raise InputError(f"{shard} is no file: name one, or a folder or pattern of them.")
        if shard.suffix != ".parquet":
            raise InputError(
                f"{shard} is no .parquet file: score JSON lines one file at a time, without --ray."
            )
        if shard.name in shards:
            raise InputError(
                f"{source} has two files of the name {shard.name}, and there can be one in "
                f"{output}: score their folders apart."
            )
        with open_shard(shard) as file:
            schema = scored_schema(file.schema_arrow, str(shard))
            shards[shard.name] = Shard(shard, file.metadata.num_rows, schema)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: name a folder for the output.")
    if output.resolve() in {shard.resolve().parent for shard in found}:
        raise InputError(f"{output} holds the files to be scored: name another folder.")
    for shard in found:
        check_output(output / shard.name, *found)
    return [*shards.values()]


def score_shards(
    shards: list[Shard], output: Path, scorer: BatchScorer, in_order: InOrder
) -> tuple[int, int]:
    """Score files into files of the same names; the number of rows read and of those scored.

    Rows keep their order. Each file takes its place when its last row is scored: after an error the
    files before are there and the others are as they were. Raises InputError naming the file that
    cannot be read to its end.
    """
    read = scored = 0
    results = in_order(scorer, _batches(path for path, _, _ in shards))
    total = sum(shard.rows for shard in shards)
    with tqdm(desc="score", unit="row", total=total, disable=None) as bar:
        for path, left, schema in shards:
            reward = columns_for(schema.names)[0]
            with (
                replacing(output / path.name) as partial,
                parquet_writer(partial, schema) as writer,
            ):
                while left:
                    batch = next(results)
                    writer.write_batch(batch)
                    left -= len(batch)
                    read += len(batch)
                    scored += len(batch) - batch[reward].null_count
                    bar.update(len(batch))
    return read, scored


def _batches(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with open_shard(path) as file:
            yield from batches_of(path, file)


def batches_of(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The batches of an open Parquet file; InputError naming it where its content is broken."""
    try:
        yield from file.iter_batches(CHUNK_ROWS)
    except (pa.ArrowException, OSError) as error:
        if is_of_the_machine(error):
            raise
        reason = first_line(error)
        raise InputError(f"{path} cannot be read to its end ({reason}): write it again.") from None


def open_shard(path: Path) -> pq.ParquetFile:
    """Open a file to read its batches; InputError naming it where it is no Parquet file."""
    try:
        return open_parquet(path)
    except (pa.ArrowException, OSError) as error:
        if is_of_the_machine(error):
            raise
        reason = first_line(error)
        raise InputError(
            f"{path} cannot be read as Parquet ({reason}): name a Parquet file, or JSON lines."
        ) from None
