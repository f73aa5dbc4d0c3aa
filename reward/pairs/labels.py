"""A label that names the better of two answers, as sets spell it.

A label names an answer by its column (response_a), by what sets that column's name apart from the
other's (a; 0 of response_0; model_a, which ends in it), or by its place (first, left, A). What a
number means that fits no column's name, nobody can know: 1 is the first answer in one set and the
second in another. Such labels are known for some sets, and are else given as `labels`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from reward.harness.errors import InputError, printable
from reward.pairs.preference import NUMBER
from reward.sources.catalogue import Winner

FIRST: Winner = "response_1"
SECOND: Winner = "response_2"
TIE: Winner = "tie"

PLACES: dict[str, Winner] = {
    **dict.fromkeys(("first", "left", "a"), "response_1"),
    **dict.fromkeys(("second", "right", "b"), "response_2"),
}
ORDINALS: dict[str, Winner] = {"1": "response_1", "2": "response_2"}
TIES = {"tie", "ties", "tied", "draw", "equal", "same", "both", "neither", "both_bad", "bothbad"}

KNOWN: dict[tuple[str, str, str], Mapping[str, Winner]] = {
    # The dataset card of stanfordnlp/SHP: 1 if A is preferred to B, 0 if B is preferred to A.
    ("human_ref_A", "human_ref_B", "labels"): {"1": "response_1", "0": "response_2"},
}
"""What labels mean where no column says it: by the columns of both answers and of the label."""

NO_LETTER = re.compile(r"[^0-9a-z]+")
ORDER = re.compile(r"(.+?)\s*(>|<|=)\2*\s*(.+)")  # A>B, B<<A, A=B of judges
SHOWN = 5  # labels in a sentence
SHOWN_LETTERS = 30


def spelling(value: object) -> str:
    """A label as text: 1, 1.0, "1" and "1.0" are one label, and so are "Model_A" and "model_a"."""
    text = str(value).strip().casefold()
    if NUMBER.fullmatch(text) and float(text).is_integer():
        return str(int(float(text)))
    return text


class Labels:
    """What the labels of a dataset mean.

    first, second, column: the dataset's names of both answers' columns and of the label's.
    """

    def __init__(
        self, first: str, second: str, column: str, given: Mapping[str, Winner] | None
    ) -> None:
        self.first, self.second, self.column = first, second, column
        told = given or KNOWN.get((first, second, column))
        self._told = {spelling(label): winner for label, winner in told.items()} if told else None
        one, two = marks(first, second)
        self._named: dict[str, Winner] = {
            **PLACES,
            **dict.fromkeys(filter(None, (one, first.casefold())), "response_1"),
            **dict.fromkeys(filter(None, (two, second.casefold())), "response_2"),
            **dict.fromkeys(TIES, "tie"),
        }

    def winner_of(self, label: object, models: Sequence[object]) -> Winner | None:
        """The answer that a label names, which may be the name of the model that it is from too.

        models: those of the first and the second answer, None where they are not known.
        """
        is_exact = spelling(label) in (self._told or self._named)
        if label is not None and models.count(label) == 1 and not is_exact:
            return (FIRST, SECOND)[models.index(label)]
        return self.winner(label)

    def winner(self, label: object) -> Winner | None:
        """The answer that a label names, or a tie; None where it says neither, or more than one.

        Of several words one is the mark: model_a, Response 2, tie (bothbad). A>B names A.
        """
        if not isinstance(label, str | int | float):
            return None
        text = spelling(label)
        if self._told is not None:
            return self._told.get(text)
        if text in self._named or NUMBER.fullmatch(text):
            return self._named.get(text)
        if order := ORDER.fullmatch(text.strip("[]")):
            one, sign, other = order.groups()
            sides = {"<": other, ">": one}
            is_known = {self._named.get(one), self._named.get(other)} == {FIRST, SECOND}
            return self._named.get(sides.get(sign, "tie")) if is_known else None
        named = {self._named[word] for word in NO_LETTER.split(text) if word in self._named}
        return named.pop() if len(named) == 1 else None

    def check(self, source: str, values: Iterable[object]) -> None:
        """Raise InputError where the labels of the first rows do not say which answer they name.

        Where both answers are named, a word that names none is a fault of its row alone.
        """
        seen = sorted({spelling(value) for value in values if value is not None and value != ""})
        # Where a column is response_1 and the other response_0, 1 is that column or the first one.
        is_free = not ORDINALS.keys() & self._named.keys()
        if self._told is None and {*seen} - TIES == {*ORDINALS} and is_free:
            self._named |= ORDINALS
        named = {self.winner(label) for label in seen}
        unknown = [label for label in seen if self.winner(label) is None]
        if self._told is not None:
            is_clear = len(unknown) < len(seen)
        else:  # 1 and 2 among other numbers are grades of a scale, and no labels
            numbers = any(map(NUMBER.fullmatch, unknown))
            is_clear = not unknown or ({FIRST, SECOND} <= named and not numbers)
        if seen and is_clear:
            return
        shown = ", ".join(printable(label[:SHOWN_LETTERS]) for label in unknown[:SHOWN]) or "none"
        raise InputError(
            f"The column {self.column} of {source} holds labels ({shown}) that do not say whether "
            f"{self.first} or {self.second} is better: give `labels` in its entry of params.yaml, "
            f'for example {{"1": response_1, "0": response_2, "2": tie}} where 1 means '
            f"{self.first}, or map another column by `columns`."
        )

    def describe(self, values: Iterable[object]) -> str:
        """How the labels of the first rows are read, in words."""
        columns = {FIRST: self.first, SECOND: self.second, TIE: "a tie"}
        seen = sorted({spelling(value) for value in values if value is not None and value != ""})
        read = [(label, self.winner(label)) for label in seen]
        told = [
            f"{label[:SHOWN_LETTERS]} means {columns[winner]}" for label, winner in read if winner
        ]
        return f"{self.column} names the better answer ({', '.join(told[: SHOWN * 2])})"


def marks(first: str, second: str) -> tuple[str, str]:
    """What sets the names of two columns apart: 1 and 2 of response_1 and response_2."""
    start = _common(first, second)
    end = _common(first[start:][::-1], second[start:][::-1])
    one, two = (name[start : len(name) - end].casefold().strip("_-. ") for name in (first, second))
    return one, two


def _common(one: str, other: str) -> int:
    """How many letters two texts begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def winner_of_flags(first: object, second: object) -> Winner | None:
    """Which of two answers won, by a number for each that is 1 where it did; None for no answer."""
    flags = (spelling(flag).replace("true", "1").replace("false", "0") for flag in (first, second))
    known: dict[tuple[str, str], Winner] = {
        ("1", "0"): "response_1",
        ("0", "1"): "response_2",
        ("0", "0"): "tie",
        ("1", "1"): "tie",
    }
    one, two = flags
    return known.get((one, two))
