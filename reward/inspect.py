"""python -m reward.inspect SOURCE: what a file or a hub dataset holds, and what is wrong with it.

Nothing is written. Every kind of problem is looked for and nothing is left out for it, whatever
params.yaml says. A near duplicate here is a prompt that is nearly another one of the dataset; how
many of them a split puts on different sides is counted by the stage of that name.
"""

import argparse
import sys
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from reward.catalogue import Dataset
from reward.duplicates import Ledger
from reward.formats import COLUMNS
from reward.intake import Intake, judge_repeats
from reward.near_duplicates import Index, Signatures, signatures
from reward.preferences import Preference, prompt_key
from reward.quality import Quality
from reward.rows import Row, Tolerance
from reward.stage import InputError, printable

SAMPLES = 3  # pairs shown
SIMILARITY = 0.8  # of near duplicates, as in params.yaml
BATCH_PROMPTS = 4096
WIDTH = 100  # characters shown of a text


def main() -> None:
    """Inspect the dataset that the command line names; exit status 1 where it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m reward.inspect", description="Show what a dataset holds and what is wrong."
    )
    parser.add_argument("source", help="a file, a pattern of files in quotes, or a hub repository")
    parser.add_argument("--config", help="of a hub repository")
    parser.add_argument("--split", help="of a hub repository")
    parser.add_argument("--revision", help="of a hub repository")
    parser.add_argument("--format", choices=COLUMNS, help="found by the columns otherwise")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="e.g. prompt=question; may be given again",
    )
    parser.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="NAME=WEIGHT",
        help="of the format ratings; may be given again",
    )
    given = vars(parser.parse_args())
    columns, attributes = (
        dict(pair.partition("=")[::2] for pair in given.pop(name))
        for name in ("column", "attribute")
    )
    try:
        entry = Dataset(**given, columns=columns, attributes=attributes or None)
        for line in report(entry):
            print(line)
    except (InputError, ValidationError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        print(f"inspect: {told}", file=sys.stderr)
        sys.exit(1)


def report(entry: Dataset) -> Iterator[str]:
    """The lines that tell what a dataset holds. Raises InputError where it cannot be read."""
    intake = Intake(entry.source, entry, Tolerance(sys.maxsize))
    everything = Quality.model_validate(dict.fromkeys(Quality.model_fields, "count"))
    samples: list[tuple[int, Preference]] = []
    ledger, prompts = Ledger(), Prompts()
    with tempfile.TemporaryDirectory() as scratch:
        for row, pair, problems in intake.pairs(everything, Path(scratch)):
            ledger.add(pair, 0, row, problems)
            prompts.add(pair)
            if len(samples) < SAMPLES:
                samples.append((row, pair))
    judge_repeats(everything, [intake], ledger)
    for row in ledger.rows[prompts.near_duplicates()].tolist():
        intake.tally.find("near_duplicate", row)
    tally = intake.tally
    counts = f"{tally.rows:,} rows, {tally.pairs:,} pairs"
    yield f"{entry.source}: {counts}, format {intake.reader.format}"
    yield from columns(intake.reader.first, intake.reader.columns)
    for row, pair in samples:
        yield from sample(row, pair)
    yield ""
    yield "Problems" if tally.dropped or tally.found else "No problems"
    for heading, counter in (("no pair", tally.dropped), ("a pair with", tally.found)):
        for kind, count in counter.most_common():
            yield f"  {heading:<12} {tally.tell(kind, count)}"


class Prompts:
    """The different prompts of a dataset, about half a kilobyte each, and which pair has which."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._of = array("Q")
        self._waiting: list[Sequence[dict[str, str]]] = []
        self._signatures: list[Signatures] = []

    def add(self, pair: Preference) -> None:
        """Enter the prompt of the next pair."""
        key = blake2b(prompt_key(pair.prompt), digest_size=8).digest()
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._waiting.append([turn._asdict() for turn in pair.prompt])
            if len(self._waiting) == BATCH_PROMPTS:
                self._sign()
        self._of.append(self._numbers[key])

    def _sign(self) -> None:
        if self._waiting:
            self._signatures.append(signatures(self._waiting))
            self._waiting.clear()

    def near_duplicates(self) -> NDArray[np.bool_]:
        """Of each pair in the order in which they came, whether its prompt is nearly another."""
        self._sign()
        if not self._signatures:
            return np.zeros(0, dtype=np.bool_)
        near = Index(self._signatures, SIMILARITY).near_one_another()
        return near[np.frombuffer(self._of, dtype=np.uint64)]


def columns(rows: list[Row], mapping: dict[str, str]) -> Iterator[str]:
    """The columns of the first rows, what they hold there, and what they are read as."""
    read_as = {theirs: ours for ours, theirs in mapping.items()}
    yield ""
    yield f"Columns (by the first {len(rows):,} rows)"
    for name in dict.fromkeys(column for row in rows for column in row):
        kinds = Counter(type(row[name]).__name__ for row in rows if row.get(name) is not None)
        missing = len(rows) - kinds.total()
        holds = ", ".join(kinds) or "nothing"
        said = f"  {plain(name):<24} {holds:<12}"
        said += f" read as {read_as[name]}" if name in read_as else " not read"
        yield said + (f", missing in {missing:,}" if missing else "")


def sample(row: int, pair: Preference) -> Iterator[str]:
    """A pair, each text on a line of its own."""
    yield ""
    yield f"Row {row}"
    for turn in pair.prompt:
        yield f"  {plain(turn.role):<10} {plain(turn.content)}"
    for name, text, rated in (
        ("chosen", pair.chosen, pair.chosen_rating),
        ("rejected", pair.rejected, pair.rejected_rating),
    ):
        yield f"  {name:<10} {plain(text)}{'' if rated is None else f' (rated {rated:g})'}"


def plain(text: str) -> str:
    """A text in one short line; what could steer a terminal is escaped."""
    return printable(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...")


if __name__ == "__main__":
    main()
