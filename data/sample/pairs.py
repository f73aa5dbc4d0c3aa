"""Pairs: two answers to one prompt that differ in quality, and not, on the whole, in length."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .defects import MILD, SERIOUS, Answer, mild, serious, sound
from .ratings import as_read, attributes, rating
from .task import Task

Kind = Callable[[Random], Task]

# How often each serious defect is tried first; a task that cannot have one passes it over.
WEIGHTS = {
    "wrong": 12,
    "cut": 14,
    "off_topic": 9,
    "off_format": 14,
    "rude": 19,
    "rambling": 18,
    "vague": 9,
    "needless_refusal": 5,
}


@dataclass(frozen=True)
class Pair:
    """A prompt with its better and its worse answer and their ratings."""

    task: Task
    chosen: Answer
    rejected: Answer
    chosen_rating: float
    rejected_rating: float


def draw(rng: Random, kinds: dict[str, Kind], per_kind: int, twice: float) -> list[Pair]:
    """`per_kind` pairs of each kind in mixed order, with about half of the longer answers chosen.

    Prompts are distinct, but for a share `twice` of them that carries two pairs.
    """
    pairs = []
    for kind in kinds.values():
        seen: set[str] = set()
        longer = [index % 2 == 0 for index in range(per_kind)]
        rng.shuffle(longer)
        task, fresh = _unseen(rng, kind, seen), True
        for longer_wins in longer:
            pairs.append(_pair(rng, task, longer_wins, kinds))
            fresh = not (fresh and rng.random() < twice)
            task = _unseen(rng, kind, seen) if fresh else task
    rng.shuffle(pairs)
    return pairs


def _unseen(rng: Random, kind: Kind, seen: set[str]) -> Task:
    while (task := kind(rng)).prompt.casefold() in seen:
        pass
    seen.add(task.prompt.casefold())
    return task


def _pair(rng: Random, task: Task, longer_wins: bool, kinds: dict[str, Kind]) -> Pair:
    """A pair whose longer answer wins or loses as asked; answers of one length are as good.

    The defects are settled before the length is looked at, so that the balance of lengths comes
    from how fully an answer is worded and not from which defects are let through; only where forty
    wordings do not give the length, other defects are drawn.
    """
    while True:
        better, worse = _defects(rng, task)
        for _ in range(40):
            other = _other(rng, task, kinds)
            chosen, rejected = better(rng, task, other), worse(rng, task, other)
            ahead = _length(chosen) - _length(rejected)
            if ahead and (ahead > 0) != longer_wins:
                continue
            if rejected.defect == "terse" and not chosen.extras:
                continue  # the other one explains nothing either
            high, low = attributes(chosen, task), attributes(rejected, task)
            if chosen.text == rejected.text or rating(high) <= rating(low):
                continue
            return _rated(rng, task, chosen, rejected, high, low)


def _length(answer: Answer) -> float:
    """About the number of tokens: a token is a word, a sign or, in rare words, four letters."""
    return len(re.findall(r"\w+|[^\w\s]|\n", answer.text)) + len(answer.text) / 4


def _defects(rng: Random, task: Task) -> tuple[Callable[..., Answer], Callable[..., Answer]]:
    names = serious(task)
    # Where the form is strict, more of the worse answers have to keep it, or it would decide.
    strictness = 1 + task.bare + (task.off_format is not None)
    weights = [WEIGHTS[name] * (strictness if name == "wrong" else 1) for name in names]
    worse = rng.choices(names, weights)[0]
    if rng.random() < 0.08:
        return sound, MILD[rng.choice(mild(task))]
    if rng.random() < 0.8:
        return sound, SERIOUS[worse]
    return MILD[rng.choice(mild(task))], SERIOUS[worse]


def _other(rng: Random, task: Task, kinds: dict[str, Kind]) -> Task:
    """A task about something else, mostly of the same kind where the form would tell them apart."""
    same = 0.5 if task.off_format is None else 0.75
    while True:
        kind = task.kind if rng.random() < same else rng.choice(list(kinds))
        other = kinds[kind](rng)
        if other.topic != task.topic:
            return other


def _rated(
    rng: Random,
    task: Task,
    chosen: Answer,
    rejected: Answer,
    high: tuple[int, ...],
    low: tuple[int, ...],
) -> Pair:
    while True:
        better, worse = rating(as_read(rng, high)), rating(as_read(rng, low))
        if better > worse:
            return Pair(task, chosen, rejected, better, worse)
