"""A label that names the better of two answers, as sets spell it.

A label names an answer by its column (response_a), by what sets that column's name apart from the
other's (a; 0 of response_0; model_a, which ends in it), or by its place (first, left, A). What a
number means that fits no column's name, nobody can know: 1 is the first answer in one set and the
second in another. Such labels are known for some sets, and are else given as `labels`. Between the
columns 1 and 2 a number like 1.3 is a grade: it names the answer that it is nearer to. Several
labels of one row, of as many judges, name the answer that most of them do.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reward.harness.errors import InputError, printable
from reward.pairs.nested import plain_spelling
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
TIES = {
    *("tie", "ties", "tied", "draw", "equal", "equally", "same", "similar", "equivalent"),
    *("both", "neither", "both_bad", "bothbad", "both_good", "no preference", "no_preference"),
}
BESIDE_NAMES = {
    *("model", "response", "answer", "output", "completion", "option", "assistant", "candidate"),
    *("choice", "text", "reply", "system", "summary", "is", "was", "the", "winner", "wins", "won"),
    *("win", "better", "best", "preferred", "chosen", "slightly", "somewhat", "much", "far"),
    *("significantly", "clearly", "strongly"),
}
"""The words that may stand beside an answer's name and do not turn its meaning, as worse does."""
BESIDE_TIES = BESIDE_NAMES | {"good", "bad", "about", "are", "a", "responses", "answers", "models"}

KNOWN: dict[tuple[str, str, str], Mapping[str, Winner]] = {
    # The dataset card of stanfordnlp/SHP: 1 if A is preferred to B, 0 if B is preferred to A.
    ("human_ref_A", "human_ref_B", "labels"): {"1": "response_1", "0": "response_2"},
    # PandaLM's README on its test data: 1 or 2 for the better response, 0 for similar ones.
    ("response1", "response2", "annotator*"): {
        "1": "response_1",
        "2": "response_2",
        "0": "tie",
    },
}
"""What labels mean where no column says it: by the columns of both answers and of the label."""

NO_LETTER = re.compile(r"[^0-9a-z]+")
ORDER = re.compile(r"(.+?)\s*(>|<|=)\2*\s*(.+)")  # A>B, B<<A, A=B of judges
COMPARED = re.compile(
    r"(.+?) (?:is )?(?:(?:slightly|somewhat|much|far|clearly|significantly) )?"
    r"(better|worse) than (.+)"
)
MIDDLE = 1.5
"""Of grades between the answers 1 and 2."""
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
        one, two = marks(plain_spelling(first), plain_spelling(second))
        self._is_numbered = (one, two) == ("1", "2")
        self._is_graded = False
        self._beside = {word for name in (first, second) for word in words_of(name)} - {one, two}
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
        if isinstance(label, list):
            return self._winner_of_most(label, models)
        is_exact = spelling(label) in (self._told or self._named)
        if label is not None and models.count(label) == 1 and not is_exact:
            return (FIRST, SECOND)[models.index(label)]
        return self.winner(label)

    def _winner_of_most(self, labels: list[Any], models: Sequence[object]) -> Winner | None:
        """What most labels name, a tie where two are named as often; None where a label is none."""
        votes = [self.winner_of(label, models) for label in votes_of(labels)]
        if not votes or None in votes:
            return None
        (most, count), *others = Counter(votes).most_common()
        return most if all(fewer < count for _, fewer in others) else TIE

    def winner(self, label: object) -> Winner | None:
        """The answer that a label names, or a tie; None where it says neither, or more than one.

        Of several words one is the mark: model_a, Response 2, tie (bothbad). A>B names A.
        """
        if not isinstance(label, str | int | float):
            return None
        text = spelling(label)
        if self._told is not None:
            return self._told.get(text)
        if self._is_graded and NUMBER.fullmatch(text):
            return _nearest(float(text))
        if text in self._named or NUMBER.fullmatch(text):
            return self._named.get(text)
        if compared := COMPARED.fullmatch(text):
            one, how, other = compared.groups()
            named = {self.winner(one), self.winner(other)}
            return (
                self.winner(one if how == "better" else other) if named == {FIRST, SECOND} else None
            )
        if order := ORDER.fullmatch(text.strip("[]")):
            one, sign, other = order.groups()
            sides = {"<": other, ">": one}
            is_known = {self._named.get(one), self._named.get(other)} == {FIRST, SECOND}
            return self._named.get(sides.get(sign, "tie")) if is_known else None
        words = words_of(text)
        names = {self._named[word] for word in words if word in self._named}
        if len(names) != 1:
            return None
        name = names.pop()
        allowed = self._beside | (BESIDE_TIES if name == TIE else BESIDE_NAMES)
        return name if {*words} - self._named.keys() <= allowed else None

    def check(self, source: str, values: Iterable[object]) -> None:
        """Raise InputError where the labels of the first rows do not say which answer they name.

        Where both answers are named, a word that names none is a fault of its row alone.
        """
        seen = sorted({spelling(value) for value in votes_of(values)})
        numbers = [float(label) for label in seen if NUMBER.fullmatch(label)]
        self._is_graded = (
            self._is_numbered
            and self._told is None
            and all(1 <= number <= 2 for number in numbers)
            and not all(map(float.is_integer, numbers))
        )
        # Where a column is response_1 and the other response_0, 1 is that column or the first one.
        is_free = not ORDINALS.keys() & self._named.keys()
        if self._told is None and {*seen} - TIES == {*ORDINALS} and is_free:
            self._named |= ORDINALS
        named = {self.winner(label) for label in seen}
        unknown = [label for label in seen if self.winner(label) is None]
        if self._told is not None:
            is_clear = len(unknown) < len(seen)
        else:  # 1 and 2 among other numbers are grades of a scale, and no labels
            is_scale = any(map(NUMBER.fullmatch, unknown))
            is_clear = not unknown or ({FIRST, SECOND} <= named and not is_scale)
        if seen and is_clear:
            return
        shown = ", ".join(printable(label[:SHOWN_LETTERS]) for label in unknown[:SHOWN]) or "none"
        raise InputError(
            f"The column {self.column} of {source} holds labels ({shown}) that do not say whether "
            f"{self.first} or {self.second} is better: give `labels` in its entry of params.yaml, "
            f'for example {{"1": response_1, "0": response_2, "2": tie}} where 1 means '
            f"{self.first}, or map another column by `columns`."
            + (
                f" If the sign of {self.column} says it, write `format: strength`, `columns: "
                f"{{strength: {self.column}}}` and `better: lower` where a negative number speaks "
                f"for {self.first}, or `higher` where a positive one does."
                if any(number < 0 for number in numbers)
                else ""
            )
        )

    def describe(self, values: Iterable[object]) -> str:
        """How the labels of the first rows are read, in words."""
        columns = {FIRST: self.first, SECOND: self.second, TIE: "a tie"}
        if self._is_graded:
            return (
                f"{self.column} says how near the better answer is (below {MIDDLE} means "
                f"{self.first}, above it {self.second})"
            )
        seen = sorted({spelling(value) for value in votes_of(values)})
        read = [(label, self.winner(label)) for label in seen]
        told = [
            f"{label[:SHOWN_LETTERS]} means {columns[winner]}" for label, winner in read if winner
        ]
        return f"{self.column} names the better answer ({', '.join(told[: SHOWN * 2])})"


def _nearest(grade: float) -> Winner | None:
    """The answer that a grade between 1 and 2 is nearer to."""
    if not 1 <= grade <= 2:
        return None
    return TIE if grade == MIDDLE else (FIRST if grade < MIDDLE else SECOND)


def votes_of(values: Iterable[Any]) -> list[Any]:
    """Labels without those that are missing; a list of several is as many."""
    every = (vote for value in values for vote in (value if isinstance(value, list) else [value]))
    return [vote for vote in every if vote is not None and vote != ""]


def words_of(text: str) -> list[str]:
    """The words of a label or name, in small letters."""
    return [word for word in NO_LETTER.split(text.casefold()) if word]


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
