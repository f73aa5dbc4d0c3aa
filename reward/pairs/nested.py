"""Values inside the values of columns: lists as JSON text or by their keys, names with dots."""

import json
import re
from typing import Any

from reward.pairs.rows import Row

JSON_START = re.compile(r"\s*[\[{]")


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


def value_at(row: Row, name: str) -> Any:
    """The value in a column, or where a name with dots leads; None where there is none.

    `question.full_text` is the key full_text of the object in the column question, `summaries.0`
    the first item of the list in summaries.
    """
    if name in row or "." not in name:
        return row.get(name)
    value: Any = row
    for key in name.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and len(key) < 4:
            value = value[int(key)] if int(key) < len(value) else None
        else:
            return None
    return value
