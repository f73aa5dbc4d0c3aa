"""Values inside the values of columns: lists as JSON text or by their keys, names that lead there.

Names of columns in other spellings are known here as well.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from reward.pairs.rows import Row

JSON_START = re.compile(r"\s*[\[{]")
PARTED = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")


def from_json(value: Any) -> Any:
    """The list or object that a text is in JSON, as CSV files hold them; else the value itself."""
    if not isinstance(value, str) or not JSON_START.match(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def as_list(value: Any) -> list[Any] | None:
    """The list that a value is, None where it is none.

    A text may be one in JSON, as in CSV files; and {text: [...], score: [...]}, which is how
    `datasets` keeps a list of objects, is the list of these objects.
    """
    value = from_json(value)
    if isinstance(value, dict) and value:
        columns = [*value.values()]
        if all(isinstance(one, list) and len(one) == len(columns[0]) for one in columns):
            return [dict(zip(value, items, strict=True)) for items in zip(*columns, strict=True)]
    return value if isinstance(value, list) else None


def plain_spelling(name: str) -> str:
    """A column's name in small letters, with _ between words however they are parted."""
    return PARTED.sub("_", name).strip("_").casefold() if "." not in name else name


def is_path(name: str) -> bool:
    """Whether a name may lead into columns, or to several."""
    return "." in name or name.endswith("*")


def spread(name: str, columns: Iterable[str]) -> list[str]:
    """The columns that a name stands for: with a * at its end those that have a number there."""
    if not name.endswith("*"):
        return [name]
    start = name[:-1]
    return [one for one in columns if one.startswith(start) and one[len(start) :].isdecimal()]


def value_at(row: Row, name: str) -> Any:
    """The value in a column, or where a name with dots leads; None where there is none.

    `question.full_text` is the key full_text of the object in the column question, `summaries.0`
    the first item of the list in summaries, `annotator*` the list of what annotator1, annotator2
    and so on hold.
    """
    if name in row or not is_path(name):
        return row.get(name)
    if name.endswith("*"):
        return [row[one] for one in spread(name, row)] or None
    value: Any = row
    for key in name.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and len(key) < 4:
            value = value[int(key)] if int(key) < len(value) else None
        else:
            return None
    return value
