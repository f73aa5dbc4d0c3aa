"""Counts of what became of a dataset's rows and pairs, by reason."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

EXAMPLES = 5  # row numbers kept for each kind of problem


@dataclass
class Tally:
    """What became of the rows: counts, and a few row numbers (from 1) for each kind of problem."""

    rows: int = 0
    candidates: int = 0
    """All pairs that the rows describe, and rows that gave none: `pairs` plus all of `dropped`."""
    pairs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    """Problems of the pairs that were kept; a pair counts once for each problem it has."""
    examples: dict[str, list[int]] = field(default_factory=dict)

    def keep(self) -> None:
        """Count a pair."""
        self.candidates += 1
        self.pairs += 1

    def drop(self, reason: str, row: int) -> None:
        """Count a row, or a pair that was not kept, as giving no pair."""
        self.candidates += 1
        self.dropped[reason] += 1
        self._remember(reason, row)

    def drop_kept(self, reason: str, row: int) -> None:
        """Count a pair that was kept as dropped after all."""
        self.pairs -= 1
        self.candidates -= 1
        self.drop(reason, row)

    def find(self, problem: str, row: int) -> None:
        """Count a problem of a pair that is kept."""
        self.found[problem] += 1
        self._remember(problem, row)

    def _remember(self, kind: str, row: int) -> None:
        numbers = self.examples.setdefault(kind, [])
        if len(numbers) < EXAMPLES:
            numbers.append(row)

    @classmethod
    def total(cls, tallies: "Iterable[Tally]") -> Self:
        """The counts of several datasets together, without row numbers."""
        total = cls()
        for tally in tallies:
            total.rows += tally.rows
            total.candidates += tally.candidates
            total.pairs += tally.pairs
            total.dropped += tally.dropped
            total.found += tally.found
        return total

    def counts(self) -> dict[str, Any]:
        """The counts as they go into records."""
        return {
            "rows": self.rows,
            "candidates": self.candidates,
            "pairs": self.pairs,
            "dropped": dict(sorted(self.dropped.items())),
            "kept_with": dict(sorted(self.found.items())),
        }

    def __str__(self) -> str:
        summary = f"{self.rows:,} rows read, {self.pairs:,} pairs kept"
        for heading, counter in (("dropped", self.dropped), ("kept with", self.found)):
            if counter:
                kinds = [self.describe(kind, count) for kind, count in counter.most_common()]
                summary += f"; {heading}: {', '.join(kinds)}"
        return summary

    def describe(self, kind: str, count: int) -> str:
        """A kind of problem, how often it occurs, and the rows of the first few."""
        rows = ", ".join(str(row) for row in sorted(self.examples[kind]))
        more = ", ..." if count > EXAMPLES else ""
        return (
            f"{count:,} {kind.replace('_', ' ')} ({'row' if count == 1 else 'rows'} {rows}{more})"
        )
