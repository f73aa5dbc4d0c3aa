"""From the rows of a dataset to its pairs: every row and every pair is counted on the way."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from reward import hub
from reward.catalogue import Dataset
from reward.duplicates import Ledger
from reward.formats import Reader
from reward.preferences import Preference, UnusableError
from reward.quality import Quality, judge
from reward.rows import Row, Tolerance, read_rows
from reward.sources import open_dataset

EXAMPLES = 5  # row numbers told for each kind of problem


@dataclass
class Tally:
    """What became of the rows: counts, and a few row numbers (from 1) for each kind of problem."""

    rows: int = 0
    candidates: int = 0
    """Pairs looked at, and rows that gave none: `pairs` and what was dropped together."""
    pairs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    """Problems that pairs were kept with, by what is wrong with each alone."""
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
        text = f"{self.rows:,} rows read, {self.pairs:,} pairs kept"
        for heading, counter in (("dropped", self.dropped), ("kept with", self.found)):
            if counter:
                told = [self.tell(kind, count) for kind, count in counter.most_common()]
                text += f"; {heading}: {', '.join(told)}"
        return text

    def tell(self, kind: str, count: int) -> str:
        """A kind of problem, how often it is there, and in which rows."""
        rows = ", ".join(str(row) for row in sorted(self.examples[kind]))
        more = ", ..." if count > EXAMPLES else ""
        return (
            f"{count:,} {kind.replace('_', ' ')} ({'row' if count == 1 else 'rows'} {rows}{more})"
        )


class Kept(NamedTuple):
    """A pair that is good enough by itself, the number of its row and what is wrong with it."""

    row: int
    pair: Preference
    problems: list[str]


class Intake:
    """One dataset of a catalogue entry while it is read.

    `tally` is complete after `pairs` and `judge_repeats`.
    """

    def __init__(self, name: str, entry: Dataset, tolerance: Tolerance) -> None:
        """Find the dataset and its format, and tell the latter.

        Raises InputError where that fails (reward.sources, reward.formats, reward.rows).
        """
        self.name = name
        self.entry = entry
        self.tally = Tally()
        self._source = open_dataset(entry)
        self.reader = Reader(entry, self._counted(read_rows(self._source.files, tolerance)))
        how = "as its entry says" if entry.format else "by its columns"
        print(f"{entry.source}: format {self.reader.format}, {how}", file=sys.stderr)

    def _counted(self, batches: Iterable[list[Row | str]]) -> Iterator[list[Row | str]]:
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(desc=self.name, unit=" rows", unit_scale=True, disable=None) as progress:
            for batch in batches:
                self.tally.rows += len(batch)
                progress.update(len(batch))
                yield batch

    def pairs(self, quality: Quality, scratch: Path) -> Iterator[Kept]:
        """The pairs that are good enough by themselves; all else is counted.

        scratch: a folder for what does not fit in memory.
        """
        actions = dict(quality)
        size = sum(path.stat().st_size for path in self._source.files.values())
        for row, outcome in self.reader.candidates(scratch, size):
            try:
                if isinstance(outcome, str):
                    raise UnusableError(outcome)
                problems = judge(outcome, actions)
            except UnusableError as unusable:
                self.tally.drop(unusable.reason, row)
                continue
            self.tally.keep()
            yield Kept(row, outcome, problems)

    def origin(self) -> dict[str, Any]:
        """Where the dataset came from, as it goes into records."""
        return {
            "source": self.entry.source,
            "format": self.reader.format,
            "config": self.entry.config,
            "split": self._source.split,
            "revision": self.entry.revision,
            "commit": self._source.commit,
            "files": {name: hub.sha256(path) for name, path in self._source.files.items()},
            "weight": self.entry.weight,
        }


def judge_repeats(quality: Quality, intakes: list[Intake], ledger: Ledger) -> NDArray[np.bool_]:
    """Which of the pairs in the ledger to drop for what they are to one another.

    What is dropped is counted, and so is what is wrong with the others, which are kept.
    """
    dropped = np.zeros(len(ledger.rows), dtype=np.bool_)
    found: dict[str, NDArray[np.bool_]] = {}
    steps = (
        ("contradiction", quality.contradiction, ledger.contradictions),
        ("duplicate", quality.duplicate, ledger.duplicates),
    )
    for kind, action, find in steps:
        if action != "ignore":
            found[kind] = find() & ~dropped
        if action == "drop":
            dropped = dropped | found[kind]
    weights = [1.0 if intake.entry.weight is None else intake.entry.weight for intake in intakes]
    found["beyond_weight"] = ledger.beyond_weight(~dropped, weights)
    dropped = dropped | found["beyond_weight"]

    sources, rows = ledger.sources, ledger.rows
    for place, problems in ledger.problems():
        if not dropped[place]:
            for problem in problems:
                intakes[sources[place]].tally.find(problem, int(rows[place]))
    for kind, places in found.items():
        kept = getattr(quality, kind, "drop") == "count"
        for place in np.flatnonzero(places & ~dropped if kept else places).tolist():
            tally = intakes[sources[place]].tally
            (tally.find if kept else tally.drop_kept)(kind, int(rows[place]))
    return dropped
