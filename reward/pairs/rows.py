"""Rows of the files that pairs come in, a batch at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from reward.harness.errors import InputError, first_line
from reward.harness.faults import is_of_the_machine
from reward.harness.tables import open_parquet
from reward.pairs.csv_rows import csv_rows
from reward.pairs.json_rows import json_rows
from reward.pairs.lines import PACKED_ERRORS, UnreadableError, open_unpacked
from reward.sources.places import KINDS, container

Row = dict[str, Any]
NumberedRow = tuple[int, Row | str]
"""A row, or the reason why it cannot be read, after the number by which users find it."""

BATCH_ROWS = 4096
"""Rows held in memory at once; a few kilobytes each."""


@dataclass
class Tolerance:
    """How many more rows that cannot be read are passed over."""

    left: int


def read_rows(files: Mapping[str, Path], tolerance: Tolerance) -> Iterator[list[NumberedRow]]:
    """Rows of files in the order given, in batches; in place of a bad one stands the reason.

    A row of JSON lines has the number of its line, so blank lines count although they give no row;
    a row of any other file has its place, from 1. Each further file goes on from the last row's
    number.

    `files` maps the name for error messages, whose end says what the file is, to the place on this
    machine. "broken_text" is a row of a Parquet or Arrow file that is not UTF-8; "unreadable" a
    line of JSON that is not UTF-8, no object, or longer than LINE_BYTES, an item of an array that
    is no object, or a row of a table that is not UTF-8 or has too many or too few cells.
    Raises InputError naming file and row where a file cannot be read, or where more rows than
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
    match container(name):
        case "json" | "csv":
            rows = _text_rows(name, path, tolerance)
        case "parquet":
            rows = enumerate(_parquet_rows(name, path), 1)
        case "arrow":
            rows = enumerate(_arrow_rows(name, path), 1)
        case _:
            raise InputError(f"{name} is not of a kind that is read here ({KINDS}): convert it.")
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _text_rows(name: str, path: Path, tolerance: Tolerance) -> Iterator[NumberedRow]:
    number = 0
    try:
        for number, row in _json_or_csv(name, path):
            if not isinstance(row, UnreadableError):
                yield number, row
                continue
            if tolerance.left == 0:
                raise InputError(
                    f"{row.unit} {number} of {name} {row.problem}: {row.cure}, or raise "
                    f"download.unreadable_rows."
                )
            tolerance.left -= 1
            yield number, "unreadable"
    except PACKED_ERRORS as error:
        if is_of_the_machine(error):
            raise
        unit = "line" if container(name) == "json" else "row"
        raise InputError(
            f"{name} cannot be read after {unit} {number} ({error}): fetch or write it again."
        ) from None


def _json_or_csv(name: str, path: Path) -> Iterator[tuple[int, Row | UnreadableError]]:
    if container(name) == "json":
        yield from json_rows(name, lambda: open_unpacked(path, name))
    else:
        with open_unpacked(path, name) as file:
            yield from csv_rows(name, file)


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


def _arrow_rows(name: str, path: Path) -> Iterator[Row | str]:
    """Rows of an Arrow file: a stream, as `datasets` saves it, or one with an index at its end."""
    try:
        with pa.OSFile(str(path)) as file:
            for batch in _arrow_batches(file):
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield from _checked(batch.slice(start, BATCH_ROWS))
    except (pa.ArrowException, OSError) as error:
        if is_of_the_machine(error):
            raise
        reason = first_line(error)
        raise InputError(
            f"{name} is not a whole Arrow file ({reason}): fetch or write it again."
        ) from None


def _arrow_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    if file.read(6) == b"ARROW1":
        whole = pa.ipc.open_file(file)
        for place in range(whole.num_record_batches):
            yield whole.get_batch(place)
    else:
        file.seek(0)
        yield from pa.ipc.open_stream(file)


def _checked(batch: pa.RecordBatch) -> list[Row | str]:
    """The rows of a batch whose bytes may be anything: places beyond its end would be followed."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        return [_checked_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
    return rows_of(batch)


def _checked_row(batch: pa.RecordBatch) -> Row | str:
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        return "broken_text"
    return _row(batch)


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
