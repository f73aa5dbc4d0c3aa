"""The first rows of a dataset, from which its format is found."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from reward.pairs.columns import Column
from reward.pairs.nested import plain_spelling, spread, value_at
from reward.pairs.rows import Row

SHOWN = 30  # columns in a sentence
WIDTH = 60  # characters of a column's name there


class FirstRows:
    """Rows, and what is in their columns; names may lead into columns (reward.pairs.columns)."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.names = [*dict.fromkeys(column for row in rows for column in row)]
        """All columns, in the order in which they come."""
        self._known = {*self.names}
        self._values: dict[str, list[Any]] = {}
        spellings = Counter(map(plain_spelling, self.names))
        self._spelled = {
            plain: name for name in self.names if spellings[plain := plain_spelling(name)] == 1
        }

    def called(self, name: str) -> str:
        """What these rows call a known column: Chosen, `chosen response` or chosenResponse where
        no column has the very name and one alone is spelt so.
        """
        return name if name in self._known else self._spelled.get(plain_spelling(name), name)

    def has(self, name: str) -> bool:
        """Whether any of the rows has a column."""
        return name in self._known or bool(self.values(name))

    def values(self, name: str) -> list[Any]:
        """All that stands in a column, without what is null."""
        is_there = name in self._known or name.partition(".")[0] in self._known
        if not is_there and not (name.endswith("*") and spread(name, self.names)):
            return []
        if name not in self._values:
            found = (value_at(row, name) for row in self.rows)
            self._values[name] = [value for value in found if value is not None]
        return self._values[name]

    def fit(self, column: Column, name: str) -> bool:
        """Whether any value that is there is of the kind that a format's column holds, or none is
        there.
        """
        values = self.values(name)
        return not values or any(map(column.fits, values))


def listed(names: Sequence[str]) -> str:
    """Names of columns in a sentence; of very many the first ones."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    short = (name if len(name) <= WIDTH else f"{name[:WIDTH]}..." for name in names[:SHOWN])
    return (", ".join(short) or "none") + more
