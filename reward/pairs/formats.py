"""Rows of known shapes made preferences.

pairs         prompt, chosen, rejected: each a text or a list of messages {role, content}; chosen
              and rejected end with the assistant's answer, with or without the prompt's turns
              before it. The prompt may be missing where both sides hold the conversation. Two
              ratings may be there (original_HelpSteer2_binarized, ultrafeedback_binarized,
              RewardBench, Skywork-Reward-Preference), or in their place chosen_share, between 0 and
              1: the share of judges that prefers chosen, a soft label.
transcripts   the same with each conversation in one text, `\\n\\nHuman: ... \\n\\nAssistant: ...`
              (hh-rlhf).
ratings       one row per response: prompt, response and attributes (HelpSteer, HelpSteer2).
scored-lists  one row per prompt: prompt and a list of responses, each with a score in it
              (UltraFeedback) or in a second list beside it.
strength      prompt, response_1, response_2 and a number that is negative where the first is
              better, zero for a tie (HelpSteer3: -3 to 3). Its size is the gap of the two ratings.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reward.harness.errors import InputError
from reward.pairs.conversation import is_transcript, read_turns
from reward.pairs.preference import Preference, UnusableError
from reward.pairs.readers import (
    ITEMS,
    Candidate,
    comparisons,
    mean_rating,
    read_pair,
    read_scored_list,
    read_strength,
    read_text,
    read_transcript,
)
from reward.pairs.responses import Response, by_prompt
from reward.pairs.rows import NumberedRow, Row
from reward.sources.catalogue import Dataset

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")

TEXT: tuple[type, ...] = (str,)
CONVERSATION: tuple[type, ...] = (str, list)
NUMBER: tuple[type, ...] = (int, float)
LIST: tuple[type, ...] = (list,)
KINDS = {TEXT: "text", CONVERSATION: "text or messages", NUMBER: "numbers", LIST: "lists"}


@dataclass(frozen=True)
class Column:
    """A column of a format: its names in known sets and the types of its values."""

    names: tuple[str, ...]
    holds: tuple[type, ...]
    required: bool = True


PAIRS = {
    "prompt": Column(("prompt",), CONVERSATION, required=False),
    "chosen": Column(("chosen",), CONVERSATION),
    "rejected": Column(("rejected",), CONVERSATION),
    "chosen_rating": Column(("chosen_rating", "score_chosen"), NUMBER, required=False),
    "rejected_rating": Column(("rejected_rating", "score_rejected"), NUMBER, required=False),
    "chosen_share": Column(("chosen_share",), NUMBER, required=False),
}
COLUMNS = {
    "pairs": PAIRS,
    "transcripts": PAIRS,
    "strength": {
        "prompt": Column(("prompt", "context"), CONVERSATION),
        "response_1": Column(("response_1", "response1"), TEXT),
        "response_2": Column(("response_2", "response2"), TEXT),
        "strength": Column(("overall_preference", "preference_strength"), NUMBER),
    },
    "scored-lists": {
        "prompt": Column(("prompt", "instruction"), CONVERSATION),
        "responses": Column(("completions", "responses", "generations"), LIST),
        "scores": Column(("scores", "ratings"), LIST, required=False),
    },
    "ratings": {
        "prompt": Column(("prompt",), CONVERSATION),
        "response": Column(("response",), TEXT),
    },
}

READ: dict[str, Callable[[Row, Dataset], Iterable[Preference | str]]] = {
    "pairs": lambda row, _: [read_pair(row)],
    "transcripts": lambda row, _: [read_transcript(row)],
    "strength": lambda row, _: [read_strength(row)],
    "scored-lists": read_scored_list,
}


class Reader:
    """A dataset's rows read as one format.

    format: its name.
    columns: from the format's name of each column to the dataset's.
    first: the first rows, from which both were inferred.
    """

    def __init__(self, entry: Dataset, batches: Iterable[list[NumberedRow]]) -> None:
        """Find format and columns by the first batch. Raises InputError naming the columns that
        there are where no format, or not the entry's own, fits them.
        """
        rest = iter(batches)
        first = next(rest, [])
        rows = [row for _, row in first if not isinstance(row, str)]
        self.entry = entry
        self.format = entry.format or detect(entry, rows)
        self.columns = find_columns(self.format, entry, rows)
        self.first = rows
        self._batches = chain([first], rest)

    def candidates(self, scratch: Path, size: int) -> Iterator[Candidate]:
        """The pairs of all rows, and a reason for every row or comparison that gives none.

        scratch: a folder for what does not fit in memory; size: bytes of the source.
        """
        if self.format == "ratings":
            return self._ratings(scratch, size)
        return self._by_row()

    def _by_row(self) -> Iterator[Candidate]:
        read = READ[self.format]
        for number, row in self._rows():
            try:
                for outcome in [row] if isinstance(row, str) else read(row, self.entry):
                    yield Candidate(number, outcome)
            except UnusableError as unusable:
                yield Candidate(number, unusable.reason)

    def _ratings(self, scratch: Path, size: int) -> Iterator[Candidate]:
        weights = attributes(self.entry)
        unusable: list[Candidate] = []  # filled while the responses are read

        def responses() -> Iterator[Response]:
            for number, row in self._rows():
                try:
                    if isinstance(row, str):
                        raise UnusableError(row)
                    prompt = read_turns(row.get("prompt"), "prompt")
                    response = read_text(row, "response")
                    yield Response(number, prompt, response, mean_rating(row, weights))
                except UnusableError as problem:
                    unusable.append(Candidate(number, problem.reason))

        for group in by_prompt(responses(), scratch, size):
            yield from unusable
            unusable.clear()
            yield from comparisons(group, self.entry.comparisons or "all")
        yield from unusable

    def _rows(self) -> Iterator[NumberedRow]:
        for number, row in chain.from_iterable(self._batches):
            yield number, row if isinstance(row, str) else self._renamed(row)

    def _renamed(self, row: Row) -> Row:
        return {name: row[column] for name, column in self.columns.items() if column in row}


def detect(entry: Dataset, rows: Sequence[Row]) -> str:
    """The format that the columns of the rows fit. Raises InputError where there is none."""
    if not rows:
        raise InputError(
            f"{entry.source} begins with no readable row: fetch it again, or save it as UTF-8 with "
            f"one JSON object per line."
        )
    columns = dict.fromkeys(column for row in rows for column in row)
    there = {*columns, *entry.columns}
    if {"chosen", "rejected"} & there:
        for side in ("prompt", "chosen"):
            column = entry.columns.get(side, side)
            texts = [row[column] for row in rows if isinstance(row.get(column), str)]
            if sum(map(is_transcript, texts)) * 2 > len(texts):
                return "transcripts"
        return "pairs"
    for name in ("strength", "scored-lists", "ratings"):
        if all(
            there & {ours, *column.names}
            for ours, column in format_columns(name, entry).items()
            if column.required
        ):
            return name
    raise InputError(
        f"{entry.source} is of no known format (its columns: {', '.join(columns) or 'none'}): name "
        f"its `format` ({', '.join(COLUMNS)}) and the `columns` that differ in its entry of "
        f"params.yaml."
    )


def attributes(entry: Dataset) -> dict[str, float]:
    """The weight of each attribute of a rating."""
    return entry.attributes or dict.fromkeys(HELPSTEER, 1.0)


def format_columns(name: str, entry: Dataset) -> dict[str, Column]:
    """The columns of a format, those of the entry's attributes included."""
    columns = dict(COLUMNS[name])
    if name == "ratings":
        columns |= {attribute: Column((attribute,), NUMBER) for attribute in attributes(entry)}
    return columns


def find_columns(name: str, entry: Dataset, rows: Sequence[Row]) -> dict[str, str]:
    """From the format's name of each column to the dataset's. Raises InputError where one that the
    format needs is missing, or holds nothing of the right type in these rows.
    """
    there = dict.fromkeys(column for row in rows for column in row)
    wanted = format_columns(name, entry)
    nested = ITEMS.keys() if name == "scored-lists" else set()
    if unknown := sorted(entry.columns.keys() - wanted.keys() - nested):
        raise InputError(
            f"The format {name} of {entry.source} has no column {unknown[0]} (there are: "
            f"{', '.join(wanted)}): correct `columns` in its entry of params.yaml."
        )
    found, missing = {}, []
    for ours, column in wanted.items():
        names = (entry.columns[ours],) if ours in entry.columns else (ours, *column.names)
        theirs = next((candidate for candidate in names if candidate in there), None)
        if theirs is not None:
            found[ours] = theirs
        elif column.required or ours in entry.columns:
            missing.append(names[0])
    if (
        name == "pairs"
        and "prompt" not in found
        and any(isinstance(row.get(found.get("chosen", "")), str) for row in rows)
    ):
        missing.insert(0, "prompt")
    if missing:
        raise InputError(
            f"{entry.source} has no column {' and no column '.join(missing)} (there are: "
            f"{', '.join(there) or 'none'}): map `columns` in its entry of params.yaml, or choose "
            f"other data."
        )
    for ours, theirs in found.items():
        _check_type(entry.source, theirs, wanted[ours].holds, rows)
    # A column that none of these rows has may still come in a later one.
    later = {ours: column.names[0] for ours, column in wanted.items() if not column.required}
    return later | found


def _check_type(source: str, column: str, holds: tuple[type, ...], rows: Sequence[Row]) -> None:
    values = [row[column] for row in rows if row.get(column) is not None]
    if values and not any(isinstance(value, holds) for value in values):
        raise InputError(
            f"The column {column} of {source} holds {type(values[0]).__name__} and not "
            f"{KINDS[holds]}: map another one by `columns` in its entry of params.yaml, or convert "
            f"the data."
        )
