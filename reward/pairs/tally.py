"""Counts of what became of a dataset's rows and pairs, by reason."""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from reward.harness.errors import printable
from reward.pairs.cures import cure_of

EXAMPLES = 5  # rows kept for each kind of problem
SHOWN = 3  # of which so many are shown with what was there
MOST_SHOWN = 60  # characters of a value

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 40
SHORT.maxlevel = SHORT.maxlist = SHORT.maxdict = 3


class Example(NamedTuple):
    """A row in which a problem was met: its number, the column, and what was there, in short."""

    row: int
    column: str | None
    found: str | None


@dataclass
class Tally:
    """What became of the rows: counts, and a few rows for each kind of problem."""

    rows: int = 0
    candidates: int = 0
    """All pairs that the rows describe, and rows that gave none: `pairs` plus all of `dropped`."""
    pairs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    """Problems of the pairs that were kept; a pair counts once for each problem it has."""
    columns: dict[str, Counter[str]] = field(default_factory=dict)
    """By reason for dropping, in which columns it was met, how often; only where that is known."""
    examples: dict[tuple[str, bool], list[Example]] = field(default_factory=dict)
    """The first few of each kind of problem, and whether they are of what was dropped."""

    def keep(self) -> None:
        """Count a pair."""
        self.candidates += 1
        self.pairs += 1

    def drop(self, reason: str, row: int, column: str | None = None, found: object = None) -> None:
        """Count a row, or a pair that was not kept, as giving no pair.

        column, found: where in the row and what it was, as in UnusableError.
        """
        self.candidates += 1
        self.dropped[reason] += 1
        if column is not None:
            self.columns.setdefault(reason, Counter())[column] += 1
        self._remember(reason, True, row, column, found)

    def drop_kept(self, reason: str, row: int) -> None:
        """Count a pair that was kept as dropped after all."""
        self.pairs -= 1
        self.candidates -= 1
        self.drop(reason, row)

    def find(self, problem: str, row: int) -> None:
        """Count a problem of a pair that is kept."""
        self.found[problem] += 1
        self._remember(problem, False, row)

    def _remember(
        self, kind: str, dropped: bool, row: int, column: str | None = None, found: object = None
    ) -> None:
        examples = self.examples.setdefault((kind, dropped), [])
        if len(examples) < EXAMPLES:
            examples.append(Example(row, column, None if found is None else shown(found)))

    @classmethod
    def total(cls, tallies: "Iterable[Tally]") -> Self:
        """The counts of several datasets together, without rows."""
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
                kinds = [self.describe(kind, counter) for kind, _ in counter.most_common()]
                summary += f"; {heading}: {', '.join(kinds)}"
        return summary

    def describe(self, kind: str, counter: Counter[str]) -> str:
        """A kind of problem, how often it occurs, in which columns, and the rows of the first few.

        counter: `dropped` or `found`. A column that the kind already names is not repeated.
        """
        dropped, count, name = counter is self.dropped, counter[kind], kind.replace("_", " ")
        columns = [one for one in self.columns.get(kind, ()) if dropped and one not in name]
        if columns:
            name += f" in {' and '.join(map(printable, sorted(columns)))}"
        rows = ", ".join(
            str(row) for row in sorted(one.row for one in self.examples[kind, dropped])
        )
        more = ", ..." if count > EXAMPLES else ""
        return f"{count:,} {name} ({'row' if count == 1 else 'rows'} {rows}{more})"

    def cures(self) -> Iterator[str]:
        """For each reason for which something was dropped, the most frequent first, and then for
        each problem of the pairs that stayed: what was there in a few rows, and what to do.
        """
        kept = [kind for kind, _ in self.found.most_common() if kind not in self.dropped]
        for kind in (*(kind for kind, _ in self.dropped.most_common()), *kept):
            examples = self.examples.get((kind, True), [])
            there = [_there(example) for example in examples if example.found is not None]
            places = f"{', '.join(there[:SHOWN])}; " if there else ""
            yield f"{kind.replace('_', ' ')}: {places}{cure_of(kind)}"


def _there(example: Example) -> str:
    column = f" in {printable(example.column)}" if example.column else ""
    return f"row {example.row} has {example.found}{column}"


def shown(value: object) -> str:
    """A value of a dataset in a few characters that a terminal can show."""
    text = printable(SHORT.repr(value))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."
