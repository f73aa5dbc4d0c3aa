"""Rows of tables in text, CSV and TSV: the first line names the columns."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

from reward.harness.errors import InputError
from reward.pairs import lines
from reward.pairs.lines import UnreadableError, lines_of

DELIMITERS = (",", "\t", ";", "|")  # the first wins a draw
QUOTED = re.compile('"[^"]*"')
MOST_COLUMNS = 10_000
BROKEN = re.compile("[\udc80-\udcff]")  # where "surrogateescape" puts bytes that are not UTF-8


def csv_rows(name: str, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any] | UnreadableError]]:
    """The rows below the header, each with its place from 1; a cell may go over several lines.

    Each cell is text as it stands, and None where it is empty. The delimiter is a tab in a file
    whose name says so, else the one of DELIMITERS that the header has most of.

    Raises InputError where the header or a quotation mark is wrong, so that no row can be told
    from the next.
    """
    csv.field_size_limit(lines.LINE_BYTES)
    rest = _text(name, file)
    first = next((line for line in rest if line.strip()), "")
    unquoted = QUOTED.sub("", first)
    delimiter = "\t" if ".tsv" in name.lower() else max(DELIMITERS, key=unquoted.count)
    # strict: a mark that is not closed would else make one cell of the rest of the file.
    reader = csv.reader(chain([first], rest), delimiter=delimiter, strict=True)
    try:
        header = _header(name, next(reader, []))
        number = 0
        for cells in reader:
            if cells:
                number += 1
                yield number, _row(header, cells)
    except csv.Error as error:
        raise InputError(
            f"{name} is no table near its line {reader.line_num} ({error}): close each quotation "
            f"mark and double those within a cell, or convert the file to JSON lines."
        ) from None


def _text(name: str, file: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(lines_of(file), 1):
        if line is None:
            raise InputError(
                f"Line {number} of {name} has more than {lines.LINE_BYTES:,} bytes: shorten or "
                f"remove it."
            )
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")


def _header(name: str, cells: list[str]) -> list[str]:
    if any(map(BROKEN.search, cells)):
        raise InputError(f"The header of {name} is not UTF-8: save the file in that encoding.")
    if len(cells) > MOST_COLUMNS:
        raise InputError(f"{name} has more than {MOST_COLUMNS:,} columns: remove those not needed.")
    # pandas writes its index as a first column that has no name, and reads it by this one.
    names = [cell.strip() or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    twice = [one for one, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{name} has several columns {twice[0]}: give each a name of its own.")
    return names


def _row(header: list[str], cells: list[str]) -> dict[str, Any] | UnreadableError:
    if len(cells) != len(header):
        return UnreadableError(
            f"has {len(cells)} cells, and the header names {len(header)}",
            "put cells that hold the delimiter in quotation marks",
        )
    if any(map(BROKEN.search, cells)):
        return UnreadableError("is not UTF-8", "save the file in that encoding")
    return dict(zip(header, (cell or None for cell in cells), strict=True))
