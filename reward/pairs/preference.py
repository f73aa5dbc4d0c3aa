"""The preference record: a prompt with a better and a worse answer, and what identifies it."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, Self

import pyarrow as pa

from reward.harness.tables import read_batches

BATCH_ROWS = 4096  # of a file, in memory at once
# No scale in use has more. Sums over all pairs, and gaps in float32 as the losses have them, then
# stay far from infinity.
MOST_RATING = 1e12
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A number as a text, as CSV files and annotations of language models have it."""

SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field(
            "prompt",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
            nullable=False,
        ),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("chosen_rating", pa.float64()),
        pa.field("rejected_rating", pa.float64()),
        pa.field("source", pa.string(), nullable=False),  # the dataset's name in params.yaml
    ]
)


class Message(NamedTuple):
    """One turn of a conversation; `role` is system, user, assistant or whatever the source has."""

    role: str
    content: str


class UnusableError(Exception):
    """Why a row gives no pair.

    reason: the name under which it is counted. column: where in the row it was found, as the row
    calls it, if it is in one column alone. found: the value that was there.
    """

    def __init__(self, reason: str, column: str | None = None, found: object = None) -> None:
        super().__init__(reason)
        self.reason, self.column, self.found = reason, column, found


@dataclass(frozen=True)
class Preference:
    """A pair of answers to one prompt; ratings are in the source's own unit, higher is better."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_rating: float | None
    rejected_rating: float | None
    earlier_turns_differ: bool = False
    """What the assistant said before the two answers was not the same; `prompt` has what was said
    before the chosen one. No column of SCHEMA: reward.pairs.quality counts it."""
    places: tuple[int, int] = field(default=(0, 0), compare=False)
    """Where the two stand among the chosen and among the rejected answers of a row of the format
    pairs, from 0. No column of SCHEMA: the scoring rules of test sets go by it."""

    @cached_property
    def pair_id(self) -> str:
        """Hash of prompt, chosen and rejected: the same on every machine, 32 hexadecimal digits."""
        content = json.dumps([self.prompt, self.chosen, self.rejected], ensure_ascii=False)
        return blake2b(content.encode(), digest_size=16).hexdigest()

    def swapped(self) -> Self:
        """The same pair with the other answer preferred."""
        return replace(
            self,
            chosen=self.rejected,
            rejected=self.chosen,
            chosen_rating=self.rejected_rating,
            rejected_rating=self.chosen_rating,
            places=self.places[::-1],
        )


def rating(value: object, column: str | None = None) -> float | None:
    """A rating as a number, None for none (or NaN, or an empty text). A text that is a number is
    read as one. Raises UnusableError for anything else, and for one beyond MOST_RATING on either
    side of 0.

    column: where the rating stands, for the error.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, int | float | str) or not is_number(value):
        raise UnusableError("rating_not_a_number", column, value)
    number = to_float(value)
    if math.isinf(number):
        raise UnusableError("rating_not_a_number", column, value)
    if abs(number) > MOST_RATING:
        raise UnusableError("rating_too_large", column, value)
    return None if math.isnan(number) else number


def is_number(value: object) -> bool:
    """Whether a value is a number, or a text that is one."""
    if isinstance(value, str):
        return NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_float(value: int | float | str) -> float:
    """What `is_number` takes for a number, infinite where it is beyond all floats."""
    try:
        return float(value)
    except OverflowError:  # JSON's integers have no largest one
        return math.inf if int(value) > 0 else -math.inf


def yes_or_no(value: object) -> object:
    """True or False where a value is that, or the text of it, else the value itself."""
    spelt = value.strip().casefold() if isinstance(value, str) else None
    return {"true": True, "false": False}.get(spelt, value) if spelt else value


def prompt_key(prompt: Iterable[tuple[str, str]]) -> bytes:
    """A prompt's turns of (role, content) without case and white space: equal keys, same prompt."""
    turns = [[role, " ".join(content.casefold().split())] for role, content in prompt]
    return json.dumps(turns, ensure_ascii=False).encode()


def prompt_id(prompt: Iterable[tuple[str, str]]) -> str:
    """Hash of the `prompt_key`: the same on every machine, 32 hexadecimal digits."""
    return blake2b(prompt_key(prompt), digest_size=16).hexdigest()


def prompt_keys(pairs: Path) -> Iterator[bytes]:
    """The `prompt_key` of every pair of a file of SCHEMA, in its order."""
    for batch in read_batches(pairs, BATCH_ROWS, ["prompt"]):
        for prompt in batch["prompt"].to_pylist():
            yield prompt_key((turn["role"], turn["content"]) for turn in prompt)


def to_batch(preferences: Sequence[Preference], source: str) -> pa.RecordBatch:
    """Preferences as a record batch of SCHEMA; `source` is the name of their dataset."""
    names = SCHEMA.names[:-1]
    columns = [[getattr(pair, name) for pair in preferences] for name in names]
    columns.append([source] * len(preferences))
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
