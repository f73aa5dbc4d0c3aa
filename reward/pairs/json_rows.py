"""Rows of JSON files: a line each, the items of an array, or one object that holds them all."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, BinaryIO

from reward.harness.errors import InputError, first_line
from reward.pairs import lines
from reward.pairs.lines import UnreadableError, lines_of

Item = dict[str, Any] | UnreadableError

CHUNK_BYTES = 2**20
BLANK = re.compile(r"[ \t\r\n]*")
# What the list of rows is called where an object holds it.
LISTS = (
    *("data", "rows", "examples", "instances", "train", "items", "pairs", "preferences"),
    *("records", "samples", "entries"),
)


def json_rows(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, Item]]:
    """The rows of a file, each with the number of its line, or of its place from 1 where it is an
    item of an array or of another list; blank lines count although they give no row.

    reopen: opens the file at its start. What the file is is found by its first character and line:
    an array; objects that are written over several lines, of which a single one may hold all rows
    (`unwrapped`); else a row per line. Of an array, memory holds one item and CHUNK_BYTES.

    Raises InputError where an array ends early or goes wrong, so that the next item is not found.
    """
    with reopen() as file:
        is_array = _first_character(file) == b"["
    if is_array:
        with reopen() as file:
            yield from enumerate(map(_object, _named(name, array_items(file))), 1)
    elif (document := _document(name, reopen)) is not None:
        yield from enumerate(map(_object, document), 1)
    else:
        with reopen() as file:
            yield from _by_line(file)


def _first_character(file: BinaryIO) -> bytes:
    """The first byte that is not white space and no byte order mark."""
    while chunk := file.read(CHUNK_BYTES):
        if text := chunk.lstrip(codecs.BOM_UTF8 + b" \t\r\n"):
            return text[:1]
    return b""


def _by_line(file: BinaryIO) -> Iterator[tuple[int, Item]]:
    for number, line in enumerate(lines_of(file), 1):
        if line is None:
            problem = f"has more than {lines.LINE_BYTES:,} bytes"
            yield number, UnreadableError(problem, "shorten or remove it", "Line")
        elif line.strip():
            yield number, _read(line, "utf-8-sig" if number == 1 else "utf-8")


def _read(line: bytes, encoding: str) -> Item:
    cure = "correct or remove it, each line must hold one object"
    try:
        value = json.loads(line.decode(encoding))
    except UnicodeDecodeError:
        return UnreadableError("is not UTF-8", "save the file in that encoding", "Line")
    except (ValueError, RecursionError) as error:
        return UnreadableError(f"is not a JSON object ({error})", cure, "Line")
    if isinstance(value, dict):
        return value
    return UnreadableError(f"is not a JSON object ({_kind(value)})", cure, "Line")


def _object(value: Any) -> Item:
    if isinstance(value, dict):
        return value
    return UnreadableError(f"is not a JSON object ({_kind(value)})", "correct or remove it")


def _kind(value: Any) -> str:
    return f"it holds a {type(value).__name__}"


def _document(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[Any] | None:
    """The rows of a file that has no row per line; None where it has, or is neither.

    That is a file whose first line holds no whole value, as its first object goes over several, or
    whose only line holds the list of rows.
    """
    with reopen() as file:
        filled = (line for line in lines_of(file) if line is None or line.strip())
        first, second = next(filled, b""), next(filled, b"")
    if not first:
        return None
    try:
        value = json.loads(first.decode("utf-8-sig"))
        rows = unwrapped(value) if not second and isinstance(value, dict) else None
        return None if rows is None else iter(rows)
    except json.JSONDecodeError:
        pass  # it may be the beginning of an object
    except (ValueError, RecursionError):
        return None
    return _objects(name, reopen)


def _objects(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[Any] | None:
    with reopen() as file:
        try:
            found = [*islice(_values(file), 2)]
        except (ValueError, RecursionError):
            return None
    if not found or not isinstance(found[0], dict):
        return None
    if len(found) == 1 and (rows := unwrapped(found[0])) is not None:
        return iter(rows)
    return _reopened(name, reopen)


def _reopened(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[Any]:
    with reopen() as file:
        yield from _named(name, _values(file))


def unwrapped(document: dict[str, Any]) -> list[Any] | None:
    """The rows of an object that is no row itself, else None.

    It has them as the only list of objects that is called by one of LISTS; as a column each,
    `{column: {"0": value, ...}}`, which is pandas' `to_json`, or with the row's number outside; as
    `{"columns": [...], "data": [[...], ...]}`; or as `{column: [value, ...]}`.
    """
    if (split := _split(document)) is not None:
        return split
    found = [document[key] for key in LISTS if _is_list_of_objects(document.get(key))]
    if found:
        return found[0] if len(found) == 1 else None
    columns = list(document.values())
    if columns and all(isinstance(column, dict) for column in columns):
        first = [*columns[0]]
        if first and all(map(str.isdecimal, first)) and all([*one] == first for one in columns):
            return [{name: document[name][key] for name in document} for key in first]
        if first and all(map(str.isdecimal, document)):
            return columns
    if columns and all(isinstance(column, list) and column for column in columns):
        one_length = len({len(column) for column in columns}) == 1
        if one_length and any(isinstance(column[0], str) for column in columns):
            rows = zip(*columns, strict=True)
            return [dict(zip(document, values, strict=True)) for values in rows]
    return None


def _split(document: dict[str, Any]) -> list[Any] | None:
    """The rows of an object that names the columns once, which is pandas' orient="split"."""
    names, data = document.get("columns"), document.get("data")
    if not isinstance(names, list) or not isinstance(data, list) or not data:
        return None
    if not all(isinstance(cells, list) and len(cells) == len(names) for cells in data):
        return None
    return [dict(zip(map(str, names), cells, strict=True)) for cells in data]


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _named(name: str, values: Iterator[Any]) -> Iterator[Any]:
    """The values of a file; what goes wrong between them is told by their number."""
    number = 0
    try:
        for value in values:
            yield value
            number += 1
    except (ValueError, RecursionError) as error:
        problem = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else first_line(error)
        raise InputError(
            f"{name} is no JSON after its item {number} ({problem}): correct it there, or write it "
            f"again as one JSON object per line."
        ) from None


def array_items(file: BinaryIO) -> Iterator[Any]:
    """The items of the array that a file holds.

    Raises ValueError or RecursionError where it is not one, or an item is longer than LINE_BYTES.
    """
    text = _Text(file)
    text.take("[")
    mark = "]" if text.peek() == "]" else ","
    if mark == ",":
        yield text.value()
        while (mark := text.peek()) == ",":
            text.take(",")
            yield text.value()
    text.take("]")
    if text.peek():
        raise ValueError("it goes on after the end of its array")


def _values(file: BinaryIO) -> Iterator[Any]:
    """The values that a file holds one after the other, with white space between them."""
    text = _Text(file)
    while text.peek():
        yield text.value()


class _Text:
    """The text of a file, read no further than the value in question needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._place, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            match = BLANK.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._more()

    def take(self, mark: str) -> None:
        """Pass over a mark. Raises ValueError where another character stands there."""
        if (found := self.peek()) != mark:
            raise ValueError(f"{found or 'the end'!r} where {mark!r} was expected")
        self._place += 1

    def value(self) -> Any:
        """The value that begins here."""
        self.peek()
        while True:
            try:
                value, end = self._parse(self._text, self._place)
            except json.JSONDecodeError as error:
                # The end of the text may be in the middle of a value.
                if self._ended:
                    raise ValueError(error.msg) from None
                if len(self._text) - self._place > lines.LINE_BYTES:
                    raise ValueError(
                        f"{error.msg}, or more than {lines.LINE_BYTES:,} bytes"
                    ) from None
            else:
                if end < len(self._text) or self._ended:  # or a number goes on
                    self._place = end
                    return value
            self._more()

    def _more(self) -> None:
        # As much again as is there: what is parsed once more is never more than what is new.
        rest = self._text[self._place :]
        data = self._file.read(max(CHUNK_BYTES, len(rest)))
        self._ended = not data
        self._text, self._place = rest + self._decode(data, self._ended), 0
