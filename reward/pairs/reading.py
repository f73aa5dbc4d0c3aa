"""How the rows of a dataset are read, and what a row gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reward.pairs.labels import Labels
from reward.pairs.preference import Preference, UnusableError, rating
from reward.pairs.rows import Row


class Candidate(NamedTuple):
    """What a row gave: a pair, or why there is none."""

    row: int
    """Its number (reward.pairs.rows); of a pair out of two rows, the chosen response's."""
    outcome: Preference | UnusableError


@dataclass(frozen=True)
class Reading:
    """How the rows of a dataset are read, beside their columns (reward.pairs.better finds it).

    is_lower_better: a lower number is of a better answer; with two answers and one number, a lower
        number speaks for the first.
    is_ranked: a list has no scores but an order; the last is best where is_lower_better.
    labels: what labels mean, in the format labels; None where each answer has a number that is 1
        if it won.
    items: from response and score to the keys of a list's items.
    attributes: the weight of each column of ratings in a response's rating.
    comparisons: which of several responses are compared.
    """

    is_lower_better: bool = False
    is_ranked: bool = False
    labels: Labels | None = None
    items: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, float] = field(default_factory=dict)
    comparisons: str = "all"

    def worth(self, value: Any, column: str) -> float:
        """A number of which more is better. Raises UnusableError where there is none."""
        worth = self.worth_of({column: value}, column)
        if worth is None:
            raise UnusableError("missing_rating", column, value)
        return worth

    def worth_of(self, row: Row, column: str) -> float | None:
        """The same of what stands in a row, None where nothing does."""
        number = rating(row.get(column), column)
        if number is not None and self.is_lower_better:
            return 0.0 - number  # and not -number, which is -0.0 for 0
        return number
