"""Best of n: whether the answer to a prompt with the highest reward is one of its best answers."""

from typing import Any, NamedTuple

import numpy as np

from reward.evaluation.metrics import estimate
from reward.evaluation.scores import Array

FEWEST_ANSWERS = 3  # of two, the best one is what the accuracy of pairs says


class Choices(NamedTuple):
    """What choosing the highest reward gives, an entry per prompt in rising order of its number."""

    prompts: Array
    """The number of each prompt, (prompts,)."""
    answers: Array
    """How many answers it has."""
    chance: Array
    """The share of them that are best: what choosing blindly gets."""
    right: Array
    """1 where the highest reward is a best answer's, 0 where not; where several answers have it,
    the share of them that are best."""


def choose(prompts: Array, places: Array, ratings: Array, rewards: Array) -> Choices:
    """Choose an answer of each prompt by reward, from pairs of its answers.

    A best answer is one that no answer to the prompt is rated above. Where several have the highest
    reward, one of them is drawn, so to say: a model that gives all the same gets the chance level,
    and with one best answer the share is 1 / (answers with the highest reward), which is also how
    RewardBench 2 counts them (its authors' code, allenai/reward-bench, scripts/run_v2.py).

    Args:
        prompts: int (pairs,), the number of each pair's prompt.
        places: int (pairs, 2), which answers of the prompt its sides are.
        ratings, rewards: float (pairs, 2), of these.
    """
    sides = np.stack([np.repeat(prompts, 2), places.ravel()], axis=1)
    found, first = np.unique(sides, axis=0, return_index=True)
    rated, rewarded = ratings.ravel()[first], rewards.ravel()[first]
    numbers, starts, answers = np.unique(found[:, 0], return_index=True, return_counts=True)
    best = rated == np.repeat(np.maximum.reduceat(rated, starts), answers)
    top = rewarded == np.repeat(np.maximum.reduceat(rewarded, starts), answers)
    return Choices(
        numbers,
        answers,
        np.add.reduceat(best.astype(float), starts) / answers,
        np.add.reduceat((best & top).astype(float), starts)
        / np.add.reduceat(top.astype(float), starts),
    )


def best_of_n(choices: Choices, same: Array, confidence: float) -> dict[str, Any] | None:
    """Best-of-n accuracy with its interval and its chance level, the means over the prompts with
    FEWEST_ANSWERS answers or more, all rated; None where there is none.

    same: for each prompt a whole number, (prompts,): those that have the same one are one prompt
    whose answers stand in several rows and were not compared, and no independent draws.
    """
    # With an answer that has no rating nobody knows which is best, and none is: chance is 0.
    many = (choices.answers >= FEWEST_ANSWERS) & (choices.chance > 0)
    if not many.any():
        return None
    found = estimate(choices.right[many], same[many], confidence)
    return {
        "prompts": found.pop("pairs"),
        "answers": int(choices.answers[many].sum()),
        **found,
        "chance": float(choices.chance[many].mean()),
    }
