"""python -m reward.examine SOURCE: what a file or a hub dataset holds, and what is wrong with it.

Nothing is written. Every kind of problem is searched for and no pair is left out because of one,
whatever params.yaml has. A near duplicate here is a prompt that is nearly another one of the
dataset; the stage split counts those that it puts on different sides. Control tokens are those of
the backbone in data/backbone, which download leaves there, or of the one that --backbone names.
"""

from reward.harness.endings import ends_in_a_sentence

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

from reward.harness.errors import InputError, printable
from reward.pairs.columns import COLUMNS
from reward.pairs.first_rows import FirstRows
from reward.pairs.intake import Intake, judge_repeats
from reward.pairs.near_duplicates import Index, Signatures, signatures
from reward.pairs.preference import Preference, prompt_key
from reward.pairs.repeats import Ledger
from reward.pairs.rows import Tolerance
from reward.pairs.settings import Quality
from reward.sources.catalogue import Dataset
from reward.tokens.control_tokens import ControlTokens
from reward.tokens.encoder import Encoder

BACKBONE = Path("data/backbone")
NOT_LOOKED_FOR = f"not looked for; {BACKBONE} is not there, and --backbone names no other"
SAMPLES = 3  # pairs shown
SIMILARITY = 0.8  # of near duplicates, as in params.yaml
BATCH_PROMPTS = 4096
WIDTH = 100  # characters shown of a text


def main() -> None:
    """Examine the dataset that the command line names; exit status 1 where it cannot be read."""
    with ends_in_a_sentence("examine"):
        for line in report(*parse_arguments()):
            print(line)


def parse_arguments() -> tuple[Dataset, Path | None]:
    """The command line as an entry of `datasets`, and the backbone's folder if there is one.

    Raises InputError where it makes no valid entry.
    """
    parser = argparse.ArgumentParser(
        prog="python -m reward.examine",
        description="Show what a dataset holds and what is wrong with it; nothing is written.",
    )
    parser.add_argument(
        "source",
        help="a JSON, CSV, Parquet or Arrow file, a pattern of such files in quotes, a folder of "
        "them, or a dataset repository of the Hugging Face hub",
    )
    parser.add_argument(
        "--config", metavar="NAME", help="which configuration of the source, if it has several"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="which split of the source, if it has several"
    )
    parser.add_argument(
        "--data-dir", metavar="FOLDER", help="which folder of the source is read alone"
    )
    parser.add_argument(
        "--data-files", metavar="PATTERN", help="which files of the source are read alone"
    )
    parser.add_argument(
        "--revision",
        metavar="NAME",
        help="a branch, tag or commit of the repository (default: its main branch)",
    )
    parser.add_argument(
        "--format",
        choices=COLUMNS,
        help="how the rows are laid out (default: found out from their columns)",
    )
    parser.add_argument(
        "--column",
        dest="columns",
        action="append",
        default=[],
        type=assignment,
        metavar="KNOWN=OWN",
        help="a column that has another name in this dataset, e.g. prompt=question; may be "
        "repeated",
    )
    parser.add_argument(
        "--attribute",
        dest="attributes",
        action="append",
        default=[],
        type=assignment,
        metavar="NAME=WEIGHT",
        help="format ratings only: a column of ratings and its weight in a response's mean "
        "rating, e.g. helpfulness=1; may be repeated (default: HelpSteer's five, weighted alike)",
    )
    parser.add_argument(
        "--better",
        choices=("higher", "lower", "first", "last"),
        help="which scores, ratings or ranks are of better answers; first and last for "
        "ranked-lists (default: found out from the name of their column)",
    )
    parser.add_argument(
        "--label",
        dest="labels",
        action="append",
        default=[],
        type=assignment,
        metavar="LABEL=ANSWER",
        help="format labels only: which answer a label names, response_1, response_2 or tie; may "
        "be repeated, for each label that there is",
    )
    parser.add_argument(
        "--backbone",
        type=Path,
        metavar="FOLDER",
        help=f"whose control tokens are looked for (default: {BACKBONE}, if it is there)",
    )
    options = vars(parser.parse_args())
    backbone = options.pop("backbone") or (BACKBONE if BACKBONE.is_dir() else None)
    options["columns"] = dict(options["columns"])
    options["attributes"] = dict(options["attributes"]) or None
    options["labels"] = dict(options["labels"]) or None
    try:
        return Dataset.model_validate(options), backbone
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        rule = problem["msg"].removeprefix("Value error, ")
        raise InputError(f"{place}={problem['input']!r} is not valid: {rule}.") from None


def assignment(option: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE."""
    name, _, value = option.partition("=")
    if not (name and value):
        raise argparse.ArgumentTypeError(f"{option!r} is not of the form NAME=VALUE")
    return name, value


def report(entry: Dataset, backbone: Path | None) -> Iterator[str]:
    """Lines that describe what a dataset holds. Raises InputError where it cannot be read.

    backbone: the folder of the tokenizer whose control tokens are looked for.
    """
    holds_control = ControlTokens(Encoder(backbone)) if backbone else None
    intake = Intake(entry.source, entry, Tolerance(sys.maxsize))
    everything = Quality.model_validate(dict.fromkeys(Quality.model_fields, "count"))
    samples: list[tuple[int, Preference]] = []
    ledger, prompts = Ledger(), Prompts()
    with tempfile.TemporaryDirectory() as scratch:
        for row, pair, problems in intake.pairs(everything, holds_control, Path(scratch)):
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
    yield f"Better: {plain(intake.reader.better)}"
    yield f"Control tokens: {f'those of {backbone}' if backbone else NOT_LOOKED_FOR}"
    yield from describe_columns(intake.reader.first, intake.reader.columns)
    for row, pair in samples:
        yield from describe_pair(row, pair)
    yield ""
    yield "Problems" if tally.dropped or tally.found else "No problems"
    for heading, counter in (("no pair", tally.dropped), ("a pair with", tally.found)):
        for kind, _ in counter.most_common():
            yield f"  {heading:<12} {tally.describe(kind, counter)}"
    if tally.dropped or tally.found:
        yield ""
        yield "What to do"
    for cure in tally.cures():
        yield f"  {cure}"


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


def describe_columns(first: FirstRows, mapping: dict[str, str]) -> Iterator[str]:
    """The columns of the first rows, the types of their values, and what they are read as.

    mapping: from the format's name of each column to the dataset's.
    """
    rows, there = first.rows, first.names
    read_as: dict[str, list[str]] = {}
    for ours, theirs in mapping.items():
        column, _, inner = (theirs, "", "") if theirs in there else theirs.partition(".")
        read_as.setdefault(column, []).append(f"{ours} ({inner})" if inner else ours)
    yield ""
    yield f"Columns (by the first {len(rows):,} rows)"
    for name in there:
        kinds = Counter(type(row[name]).__name__ for row in rows if row.get(name) is not None)
        missing = len(rows) - kinds.total()
        holds = ", ".join(kinds) or "nothing"
        use = f"read as {', '.join(read_as[name])}" if name in read_as else "not read"
        gaps = f", missing in {missing:,}" if missing else ""
        yield f"  {plain(name):<24} {holds:<12} {use}{gaps}"


def describe_pair(row: int, pair: Preference) -> Iterator[str]:
    """A pair, each text on a line of its own."""
    yield ""
    yield f"Row {row}"
    for turn in pair.prompt:
        yield f"  {plain(turn.role):<10} {plain(turn.content)}"
    for name, text, rating in (
        ("chosen", pair.chosen, pair.chosen_rating),
        ("rejected", pair.rejected, pair.rejected_rating),
    ):
        yield f"  {name:<10} {plain(text)}{'' if rating is None else f' (rated {rating:g})'}"


def plain(text: str) -> str:
    """A text in one short line; what could steer a terminal is escaped."""
    return printable(text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}...")


if __name__ == "__main__":
    main()
