"""Rows of the files that pairs come in, JSON lines and Parquet, a batch at a time."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from reward.harness.errors import InputError, first_line
from reward.harness.faults import is_of_the_machine
from reward.harness.tables import open_parquet
from reward.sources.places import JSON_SUFFIXES, SUFFIXES

Row = dict[str, Any]
NumberedRow = tuple[int, Row | str]
"""A row, or the reason why it cannot be read, after the number by which users find it."""

BATCH_ROWS = 4096
"""Rows held in memory at once; a few kilobytes each."""

LINE_BYTES = 64 * 2**20
"""Of a line of JSON at most, read before it is known to be longer; a few megabytes of .gz can hold
one that no memory does."""


@dataclass
class Tolerance:
    """How many more rows that cannot be read are passed over."""

    left: int


def read_rows(files: Mapping[str, Path], tolerance: Tolerance) -> Iterator[list[NumberedRow]]:
    """Rows of files in the order given, in batches; in place of a bad one stands the reason.

    A row of JSON lines has the number of its line, so blank lines count although they give no row;
    a row of Parquet has its place, from 1. Each further file goes on from the last row's number.

    `files` maps the name for error messages to the place on this machine. "broken_text" is a row of
    a Parquet file that is not UTF-8, "unreadable" a line that is not UTF-8, no JSON object, or
    longer than LINE_BYTES.
    Raises InputError naming file and line where a file cannot be read, or where more lines than
    `tolerance` allows cannot.
    """
    before = 0  # the number of the last row of the files before
    for name, path in files.items():
        last = 0
        for batch in _batches(name, path, tolerance):
            yield [(before + number, row) for number, row in batch]
            last = batch[-1][0]
        before += last


def _batches(name: str, path: Path, tolerance: Tolerance) -> Iterator[list[NumberedRow]]:
    if name.lower().endswith(JSON_SUFFIXES):
        rows = _json_rows(name, path, tolerance)
    elif name.lower().endswith(".parquet"):
        rows = enumerate(_parquet_rows(name, path), 1)
    else:
        raise InputError(
            f"{name} is not of a kind that is read here ({', '.join(SUFFIXES)}): convert it."
        )
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _json_rows(name: str, path: Path, tolerance: Tolerance) -> Iterator[NumberedRow]:
    number = 0
    try:
        with _open(name, path) as file:
            for number, line in enumerate(lines_of(file), 1):
                try:
                    if line is None:
                        raise OverflowError
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    if text.strip():
                        yield number, _object(text)
                except (ValueError, RecursionError, OverflowError) as error:
                    if tolerance.left == 0:
                        raise InputError(_unreadable(name, number, error)) from None
                    tolerance.left -= 1
                    yield number, "unreadable"
    except (OSError, EOFError, zlib.error) as error:
        if is_of_the_machine(error):
            raise
        raise InputError(
            f"{name} cannot be read after line {number} ({error}): fetch or write it again."
        ) from None


def lines_of(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None in the place of one that is longer than LINE_BYTES."""
    while line := file.readline(LINE_BYTES + 1):
        if len(line) <= LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES)
        yield None


def _unreadable(name: str, number: int, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        problem, cure = "is not UTF-8", "save the file in that encoding"
    elif isinstance(error, OverflowError):
        problem, cure = f"has more than {LINE_BYTES:,} bytes", "shorten or remove it"
    else:
        problem = f"is not a JSON object ({error})"
        cure = "correct or remove it, each line must hold one object"
    return f"Line {number} of {name} {problem}: {cure}, or raise download.unreadable_rows."


def _open(name: str, path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if name.lower().endswith(".gz") else path.open("rb")


def _object(text: str) -> Row:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")
    return value


def _parquet_rows(name: str, path: Path) -> Iterator[Row | str]:
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from rows_of(batch)
    except (pa.ArrowException, OSError) as error:
        if is_of_the_machine(error):
            raise
        reason = first_line(error)
        raise InputError(
            f"{name} is not a whole Parquet file ({reason}): fetch or write it again."
        ) from None


def rows_of(batch: pa.RecordBatch) -> list[Row | str]:
    """The rows of a batch; "broken_text" in place of one that is not UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_row(batch.slice(index, 1)) for index in range(batch.num_rows)]


def _row(batch: pa.RecordBatch) -> Row | str:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError:
        return "broken_text"
