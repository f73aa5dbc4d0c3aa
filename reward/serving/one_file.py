"""Rows of one file or stream scored into another: JSON lines, plain or gzip, or Parquet."""

import gzip
import json
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.harness.files import replacing
from reward.harness.tables import parquet_writer
from reward.pairs.lines import lines_of
from reward.pairs.preference import UnusableError
from reward.pairs.rows import Row
from reward.serving.batch import How, reason_of, score_batch, score_rows, scored_schema
from reward.serving.questions import columns_for
from reward.serving.shards import batches_of, open_shard

if TYPE_CHECKING:
    from reward.serving.model import RewardModel


def is_parquet(path: Path | None) -> bool:
    """Whether rows in this place are Parquet; all others are JSON lines."""
    return path is not None and path.suffix == ".parquet"


def score_file(
    model: "RewardModel", source: Path | None, output: Path | None, how: How
) -> tuple[int, int]:
    """Score the rows of a file, or of stdin, into another of the same kind, or to stdout.

    Rows without a reward are left out and named on stderr. Returns how many rows were read and how
    many scored. Raises InputError where the file cannot be read to its end.
    """
    with replacing(output) if output else nullcontext() as partial:
        if source and partial and is_parquet(output):
            return _score_parquet(model, source, partial, how)
        try:
            with _reading(source) as lines, _writing(partial, output) as sink:
                return _score_lines(model, lines, sink, how)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{source} cannot be read to its end ({error}): write it again."
            ) from None


def _reading(path: Path | None) -> AbstractContextManager[BinaryIO]:
    if path is None:
        return nullcontext(sys.stdin.buffer)
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _writing(partial: Path | None, path: Path | None) -> AbstractContextManager[BinaryIO]:
    if partial is None or path is None:
        return nullcontext(sys.stdout.buffer)
    return cast(BinaryIO, gzip.open(partial, "wb")) if path.suffix == ".gz" else partial.open("wb")


def _score_lines(
    model: "RewardModel", source: BinaryIO, sink: BinaryIO, how: How
) -> tuple[int, int]:
    numbers = deque[int]()  # of the lines that are read and not scored yet

    def rows() -> Iterator[Row | UnusableError]:
        for number, line in enumerate(lines_of(source), 1):
            if line is None or line.strip():
                numbers.append(number)
                yield UnusableError("too_long") if line is None else _object(line)

    read = written = 0
    for scored in score_rows(model, rows(), how, progress=True):
        number = numbers.popleft()
        read += 1
        _name(f"line {number}", scored, reason_of(model, scored))
        if isinstance(scored, UnusableError):
            continue
        written += 1
        # A lone surrogate in a column that is not scored becomes the escape that JSON has for it.
        text = json.dumps(scored, ensure_ascii=False)
        sink.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sink.flush()
    return read, written


def _object(line: bytes) -> Row | UnusableError:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return UnusableError("not_UTF-8")
    except (ValueError, RecursionError):
        return UnusableError("not_JSON")
    return value if isinstance(value, dict) else UnusableError("not_a_JSON_object")


def _name(place: str, scored: Row | UnusableError, reason: str | None) -> None:
    if reason:
        kept = "" if isinstance(scored, UnusableError) else " (scored nevertheless)"
        tqdm.write(f"score: {place}: {reason.replace('_', ' ')}{kept}", file=sys.stderr)


def _score_parquet(model: "RewardModel", source: Path, target: Path, how: How) -> tuple[int, int]:
    read = written = 0
    with open_shard(source) as file:
        whole = scored_schema(file.schema_arrow, str(source))
        columns = columns_for(file.schema_arrow.names)
        kept = [field for field in file.schema_arrow if field.name not in columns]
        schema = pa.schema([*kept, *(whole.field(name) for name in columns)])
        with (
            parquet_writer(target, schema) as writer,
            tqdm(desc="score", unit="row", total=file.metadata.num_rows, disable=None) as bar,
        ):
            for batch in batches_of(source, file):
                scored = score_batch(model, batch, how, bar)
                for number, row in enumerate(scored, read + 1):
                    _name(f"row {number}", row, reason_of(model, row))
                good = [row for row in scored if not isinstance(row, UnusableError)]
                whole_rows = batch.filter([not isinstance(row, UnusableError) for row in scored])
                arrays = [whole_rows[field.name] for field in kept]
                arrays += [
                    pa.array([r[name] for r in good], schema.field(name).type) for name in columns
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                read, written = read + len(scored), written + len(good)
    return read, written
