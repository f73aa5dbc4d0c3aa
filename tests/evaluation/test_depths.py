"""reward/evaluation/depths.py: heads on held-out prompts, worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reward.evaluation.depths import accuracy_by_depth
from reward.evaluation.metrics import credit, estimate

PROMPTS = 40


def pairs_of(prompts: int, each: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of two answers of their own, the same number of each prompt."""
    sides = np.arange(2 * prompts * each).reshape(-1, 2)
    return sides, np.arange(len(sides)) // each


def found(
    features: NDArray[np.float64],
    sides: NDArray[np.int64],
    prompts: NDArray[np.int64],
    strength: float = 1.0,
) -> list[dict[str, float]]:
    return accuracy_by_depth(
        features.astype(np.float32),
        sides,
        prompts,
        depths=range(1, len(features) + 1),
        folds=4,
        strength=strength,
        confidence=0.9,
    )


def test_a_depth_that_separates_and_one_that_says_nothing() -> None:
    """The answers at even places are chosen. First what tells them apart, then what is the same
    for all, then the first with the other sign in a quarter of the pairs, at random.
    """
    sides, prompts = pairs_of(PROMPTS)
    separates = np.tile([[1.0, 5.0], [-1.0, 5.0]], (PROMPTS, 1))
    constant = np.full_like(separates, 3.0)
    wrong = np.random.default_rng(0).permutation(PROMPTS) < PROMPTS // 4
    mixed = separates * np.where(np.repeat(wrong, 2), -1, 1)[:, None]
    rows = found(np.stack([separates, constant, mixed]), sides, prompts)
    assert [row["depth"] for row in rows] == [1, 2, 3]
    assert [row["accuracy"] for row in rows] == [1.0, 0.5, 0.75]


def test_the_interval_is_that_of_every_other_accuracy() -> None:
    sides, prompts = pairs_of(PROMPTS)
    features = np.tile([[1.0], [-1.0]], (PROMPTS, 1))
    features[:2] *= -1  # one pair the other way round
    (row,) = found(features[None], sides, prompts)
    margins = np.ones(PROMPTS)
    margins[0] = -1
    assert row == {"depth": 1} | estimate(credit(margins), prompts, 0.9)
    # Wilson 1927 for 39 of 40, by hand: z = 1.64485, (39 + z^2 / 2) / (40 + z^2) = 0.94491 as the
    # middle, and z sqrt(39 * 1 / 40 + z^2 / 4) / (40 + z^2) = 0.04956 to both sides.
    assert row["accuracy_low"] == pytest.approx(0.94491 - 0.04956, abs=2e-4)
    assert row["accuracy_high"] == pytest.approx(0.94491 + 0.04956, abs=2e-4)


def test_all_pairs_of_a_prompt_are_held_out_together() -> None:
    """A feature for each prompt tells for all of its pairs which side is chosen, by a sign that is
    the prompt's own: it can be learned by heart from another pair of the prompt, and from nothing
    else. Whoever deals out pairs in place of prompts finds 1.
    """
    each = 4
    sides, prompts = pairs_of(PROMPTS, each)
    sign = np.where(np.random.default_rng(1).permutation(PROMPTS) % 2, 1.0, -1.0)
    features = np.zeros((2 * PROMPTS * each, PROMPTS))
    for pair, (chosen, rejected) in enumerate(sides):
        prompt = pair // each
        features[chosen, prompt], features[rejected, prompt] = sign[prompt], -sign[prompt]
    (row,) = found(features[None], sides, prompts)
    assert row["accuracy"] == 0.5  # nothing was learned of the prompt: the margin is 0
    (by_heart,) = found(features[None], sides, np.arange(len(sides)))
    assert by_heart["accuracy"] == 1.0


def test_features_of_any_scale_weigh_the_same() -> None:
    """Each is measured in its own deviations, so that the penalty asks no feature's unit."""
    sides, prompts = pairs_of(PROMPTS)
    features = np.random.default_rng(2).normal(size=(2 * PROMPTS, 3))
    features[::2] += 0.7
    scaled = features * [1e-4, 1.0, 1e4]
    one, other = found(np.stack([features, scaled]), sides, prompts, strength=0.01)
    assert 0.5 < one["accuracy"] < 1
    assert other["accuracy"] == one["accuracy"]


def test_a_few_pairs_more_than_features_and_a_prompt_in_each_fold() -> None:
    sides, prompts = pairs_of(4)
    features = np.random.default_rng(3).normal(size=(8, 100))
    (row,) = found(features[None], sides, prompts)
    assert row["accuracy"] in (0, 0.25, 0.5, 0.75, 1)
