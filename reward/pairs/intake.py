"""From the rows of datasets to a file of pairs: every row and every pair is counted on the way."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from reward.harness.errors import InputError, printable
from reward.harness.files import replacing, sha256
from reward.harness.tables import parquet_writer, read_batches
from reward.pairs.first_rows import listed
from reward.pairs.formats import Reader
from reward.pairs.nested import value_at
from reward.pairs.preference import (
    BATCH_ROWS,
    SCHEMA,
    Preference,
    UnusableError,
    to_batch,
)
from reward.pairs.quality import HoldsControl, judge
from reward.pairs.repeats import Ledger
from reward.pairs.rows import NumberedRow, Tolerance, read_rows
from reward.pairs.settings import Action, Quality
from reward.pairs.tally import Tally
from reward.sources.catalogue import Dataset
from reward.sources.datasets import open_dataset


class Accepted(NamedTuple):
    """A pair that is good enough by itself, the number of its row and what is wrong with it."""

    row: int
    pair: Preference
    problems: list[str]


class Written(NamedTuple):
    """Where the pairs of a written file come from, in its order."""

    rows: NDArray[np.uint64]
    """The number of each pair's row, (pairs,)."""
    places: NDArray[np.uint16]
    """Those of its answers in that row (reward.pairs.preference), (pairs, 2)."""


class Intake:
    """One dataset of a catalogue entry while it is read.

    `tally` is complete after `pairs` and `judge_repeats`, and so after `write_pairs`, and so is
    `noted`: by the number of each row, what stands in the columns `noting`.
    """

    def __init__(
        self, name: str, entry: Dataset, tolerance: Tolerance, noting: Sequence[str] = ()
    ) -> None:
        """Find the dataset and its format, and print the latter.

        noting: columns whose values are remembered; a name with dots leads into a column.
        Raises InputError where that fails (reward.sources.datasets, reward.pairs.formats and
        reward.pairs.rows), and where the first rows have nothing in such a column.
        """
        self.name = name
        self.entry = entry
        self.tally = Tally()
        self.noted: dict[int, list[Any]] = {}
        self._noting = noting
        self._source = open_dataset(entry)
        self.reader = Reader(entry, self._counted(read_rows(self._source.files, tolerance)))
        how = "as its entry says" if entry.format else "by its columns"
        better = printable(self.reader.better)
        print(
            f"{entry.source}: format {self.reader.format}, {how}; better: {better}",
            file=sys.stderr,
        )
        if unread := [column for column in self.reader.unread if column not in noting]:
            names = printable(listed(unread))
            print(f"{entry.source}: columns of text that are not read: {names}", file=sys.stderr)
        for column in noting:
            if not self.reader.first.has(column):
                there = printable(listed(self.reader.first.names))
                raise InputError(
                    f"{entry.source} has no column {printable(column)} (there are: {there}): name "
                    f"one of these in its entry of params.yaml."
                )

    def _counted(self, batches: Iterable[list[NumberedRow]]) -> Iterator[list[NumberedRow]]:
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(desc=self.name, unit=" rows", unit_scale=True, disable=None) as progress:
            for batch in batches:
                self.tally.rows += len(batch)
                if self._noting:
                    self.noted |= {
                        number: [value_at(row, column) for column in self._noting]
                        for number, row in batch
                        if not isinstance(row, str)
                    }
                progress.update(len(batch))
                yield batch

    def pairs(
        self, quality: Quality, holds_control: HoldsControl | None, scratch: Path
    ) -> Iterator[Accepted]:
        """The pairs that are good enough by themselves; all else is counted.

        holds_control: see reward.pairs.quality.judge. scratch: a folder for what does not fit in
        memory.
        """
        actions = dict(quality)
        size = sum(path.stat().st_size for path in self._source.files.values())
        for row, outcome in self.reader.candidates(scratch, size):
            try:
                if isinstance(outcome, UnusableError):
                    raise outcome
                problems = judge(outcome, actions, holds_control)
            except UnusableError as unusable:
                self.tally.drop(unusable.reason, row, unusable.column, unusable.found)
                continue
            self.tally.keep()
            yield Accepted(row, outcome, problems)

    def print_tally(self) -> None:
        """Print what became of the rows, and what to do about those that gave no pair."""
        print(f"{self.entry.source}: {self.tally}", file=sys.stderr)
        for line in self.tally.cures():
            print(f"  {line}", file=sys.stderr)

    def origin(self) -> dict[str, Any]:
        """Where the dataset came from, as it goes into records."""
        return {
            "source": self.entry.source,
            "format": self.reader.format,
            "config": self._source.config,
            "split": self._source.split,
            "revision": self.entry.revision,
            "commit": self._source.commit,
            "files": {
                name: self._source.hashes.get(name) or sha256(path)
                for name, path in self._source.files.items()
            },
            "weight": self.entry.weight,
        }


def write_pairs(
    quality: Quality, holds_control: HoldsControl | None, intakes: list[Intake], pairs: Path
) -> Written:
    """Write the valid pairs of all datasets to `pairs`, one dataset after the other.

    The file is Parquet of reward.pairs.preference.SCHEMA, in the order of the rows. It is written
    once with the pairs that are good enough by themselves, and again without those that repeat or
    contradict others. Memory holds a few numbers per pair (reward.pairs.repeats) and one batch of
    rows; what needs more room for a while goes into the file's folder.

    holds_control: see reward.pairs.quality.judge.
    Returns where the pairs come from. Raises InputError where a dataset cannot be read or has no
    valid pair; what is then in `pairs`
    is of no use.
    """
    ledger = Ledger()
    with parquet_writer(pairs, SCHEMA) as writer:
        for number, intake in enumerate(intakes):
            accepted = intake.pairs(quality, holds_control, pairs.parent)
            while chunk := list(islice(accepted, BATCH_ROWS)):
                for row, pair, problems in chunk:
                    ledger.add(pair, number, row, problems)
                writer.write_batch(to_batch([one.pair for one in chunk], intake.name))
    dropped = judge_repeats(quality, intakes, ledger)
    for intake in intakes:
        if intake.tally.pairs == 0:
            intake.print_tally()
            raise InputError(
                f"{intake.entry.source} has no valid pair ({intake.tally}): correct it or choose "
                f"other data."
            )
    if dropped.any():
        _rewrite(pairs, ~dropped)
    return Written(ledger.rows[~dropped], ledger.places[~dropped])


def judge_repeats(quality: Quality, intakes: list[Intake], ledger: Ledger) -> NDArray[np.bool_]:
    """Which of the pairs in the ledger are dropped because of others, or by their dataset's weight.

    What is dropped is counted, and so are the problems of the pairs that stay.
    """
    actions: dict[str, Action] = {
        "contradiction": quality.contradiction,
        "duplicate": quality.duplicate,
        "beyond_weight": "drop",
    }
    found: dict[str, NDArray[np.bool_]] = {}
    dropped = np.zeros(len(ledger.rows), dtype=np.bool_)
    for kind, find in (
        ("contradiction", ledger.contradictions),
        ("duplicate", ledger.duplicates),
    ):
        if actions[kind] != "ignore":
            found[kind] = find() & ~dropped
        if actions[kind] == "drop":
            dropped = dropped | found[kind]
    weights = [1.0 if intake.entry.weight is None else intake.entry.weight for intake in intakes]
    found["beyond_weight"] = ledger.beyond_weight(~dropped, weights)
    dropped = dropped | found["beyond_weight"]

    sources, rows = ledger.sources, ledger.rows
    for place, problems in ledger.problems():
        if not dropped[place]:
            for problem in problems:
                intakes[sources[place]].tally.find(problem, int(rows[place]))
    for kind, pairs in found.items():
        stay = actions[kind] == "count"
        for place in np.flatnonzero(pairs & ~dropped if stay else pairs).tolist():
            tally = intakes[sources[place]].tally
            (tally.find if stay else tally.drop_kept)(kind, int(rows[place]))
    return dropped


def _rewrite(pairs: Path, kept: NDArray[np.bool_]) -> None:
    """Leave only the kept pairs in a file of preferences."""
    start = 0
    with replacing(pairs) as partial, parquet_writer(partial, SCHEMA) as writer:
        for batch in read_batches(pairs, BATCH_ROWS):
            writer.write_batch(batch.filter(pa.array(kept[start : start + len(batch)])))
            start += len(batch)
