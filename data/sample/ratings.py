"""Five attributes of an answer, 0 to 4 as in HelpSteer2, and their mean, the rating.

A sound answer is fully helpful, correct and coherent; its complexity comes from the task and its
verbosity from its length. Each defect takes away from the attributes that it hurts. Two readers
rarely agree to the point, so each of the first three may come out one lower.
"""

from random import Random

from .defects import Answer
from .task import Task

# (helpfulness, correctness, coherence, complexity, verbosity) that a defect costs.
COST = {
    "sound": (0, 0, 0, 0, 0),
    "terse": (1, 0, 0, 1, 0),
    "chatty": (1, 0, 0, 0, 0),
    "curt": (1, 0, 1, 0, 0),
    "wordy": (1, 0, 1, 0, -1),
    "wrong": (2, 3, 0, 0, 0),
    "cut": (2, 0, 1, 0, 0),
    "off_topic": (3, 3, 1, 0, 0),
    "off_format": (2, 0, 1, 0, 0),
    "rude": (2, 0, 2, 0, 0),
    "rambling": (1, 0, 3, 0, -1),
    "vague": (3, 2, 0, 1, 0),
    "needless_refusal": (4, 2, 0, 1, 1),
}


def attributes(answer: Answer, task: Task) -> tuple[int, ...]:
    """Helpfulness, correctness, coherence, complexity and verbosity, before readers differ."""
    words = len(answer.text.split())
    verbosity = 2 + (words > 80)
    complexity = task.difficulty + (answer.extras > 1)
    values = (4, 4, 4, complexity, verbosity)
    return tuple(
        min(4, max(0, value - cost))
        for value, cost in zip(values, COST[answer.defect], strict=True)
    )


def rating(values: tuple[int, ...]) -> float:
    """The mean of the five attributes."""
    return sum(values) / len(values)


def as_read(rng: Random, values: tuple[int, ...]) -> tuple[int, ...]:
    """The attributes as one reader gives them."""
    slack = [rng.random() < 0.2 for _ in range(3)]
    return (*(max(0, value - low) for value, low in zip(values, slack, strict=False)), *values[3:])
