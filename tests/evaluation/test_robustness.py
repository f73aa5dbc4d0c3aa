"""What is measured of edited answers, by hand; intervals over prompts; the distinct answers."""

import numpy as np
import pytest

from reward.evaluation.answers import Answers
from reward.evaluation.metrics import wilson
from reward.evaluation.resampling import Bootstrap, by_prompt
from reward.evaluation.robustness import robustness
from tests.evaluation.test_metrics import scores

NAN = np.nan
BOOTSTRAP = Bootstrap(confidence=0.9, resamples=500, seed=0)


def test_changes_and_flips_by_hand() -> None:
    """Twelve pairs: chosen 2, rejected 1, but the last two are wrong. The edit adds 3 to the
    rejected answer of the first four, 1 (a tie) to that of the fifth, leaves that of the sixth as
    it is, and takes 0.5 off all other answers.
    """
    rewards = np.tile([2.0, 1.0], (12, 1))
    rewards[10:] = [1.0, 2.0]
    edited = rewards - 0.5
    edited[:4, 1] = 4.0
    edited[4, 1] = 2.0
    edited[5, 1] = NAN
    none = np.full((12, 2), NAN)
    few = none.copy()
    few[:9] = 0.0
    found = robustness(
        ["a", "b", "c"], rewards, np.stack([edited, none, few]), np.arange(12), 2.0, BOOTSTRAP
    )
    (row,) = found  # b changes nothing, c answers of nine prompts
    assert (row["name"], row["answers"], row["won"], row["lost"]) == ("a", 23, 9, 4.5)
    assert row["change"]["mean"] == pytest.approx((4 * 3 + 1 - 18 * 0.5) / 2 / 23)
    assert row["change"]["low"] < row["change"]["mean"] < row["change"]["high"]
    assert row["raised"] == 5 / 23
    low, high = wilson(0.5, 9, 0.9)
    assert row["overtaken"] == {"mean": 0.5, "low": low, "high": high}


def test_a_model_that_is_never_right_has_no_order_to_lose() -> None:
    rewards = np.tile([1.0, 2.0], (12, 1))
    (row,) = robustness(["a"], rewards, rewards[None] + 1, np.arange(12), 1.0, BOOTSTRAP)
    assert (row["won"], row["lost"], row["overtaken"]) == (0, 0, None)
    assert row["change"] == {"mean": 1, "low": 1, "high": 1}


def test_sums_by_prompt() -> None:
    values = np.array([[1.0, 10], [2, 20], [4, 40]])
    assert by_prompt(values, np.array([7, 3, 7])).tolist() == [[2, 20], [5, 50]]


def test_the_interval_is_that_of_a_mean_and_whole_prompts_are_drawn() -> None:
    draws = np.random.default_rng(1)
    values = draws.normal(5, 2, 400)
    bootstrap = Bootstrap(confidence=0.95, resamples=2000, seed=1)
    alone = bootstrap.mean(values, np.arange(400))
    half = 1.96 * values.std() / 20
    assert alone["mean"] == pytest.approx(values.mean())
    assert alone["low"] == pytest.approx(values.mean() - half, abs=0.03)
    assert alone["high"] == pytest.approx(values.mean() + half, abs=0.03)
    # The same answers four times over are no more evidence, where they are of the same prompts.
    again = bootstrap.mean(np.tile(values, 4), np.tile(np.arange(400), 4))
    assert again == pytest.approx(alone)
    assert bootstrap.mean(values, np.arange(400)) == alone


def test_an_answer_of_several_pairs_stands_once() -> None:
    """Answers 0 to 3: 0 is chosen over 1 and over 2 for one prompt, 3 over 1 for another one, where
    1 is a text of its own.
    """
    table = scores(
        [1.0, 2.0, 5.0], [0.5, 0.0, 4.0], lengths=[(9, 4), (9, 6), (7, 3)],
        ratings=[(4, 2), (4, 1), (None, None)],
    )  # fmt: skip
    formats = np.zeros((3, 2, 1), bool)
    formats[:2, 0] = True
    found = Answers.of(table, np.array([8, 8, 5]), np.array([[0, 1], [0, 2], [3, 4]]), formats)
    assert found.prompt.tolist() == [8, 8, 8, 5, 5]
    assert found.reward.tolist() == [1.5, 0.5, 0, 5, 4]
    assert found.rating[:3].tolist() == [4, 2, 1]
    assert np.isnan(found.rating[3:]).all()
    assert found.chosen.tolist() == [1, 0, 0, 1, 0]
    assert found.tokens.tolist() == [9, 4, 6, 7, 3]
    assert found.formats.ravel().tolist() == [True, False, False, False, False]


def test_ratings_of_the_comparison_are_none_of_the_answer() -> None:
    """By strengths 0 is 4 above 1 and 3 above 2: nobody rated 0 by 3.5."""
    table = scores([1.0, 2.0], [0.5, 0.0], lengths=[(9, 4), (9, 6)], ratings=[(4, 0), (3, 0)])
    nothing = np.zeros((2, 2, 1), bool)
    found = Answers.of(table, np.array([8, 8]), np.array([[0, 1], [0, 2]]), nothing)
    assert np.isnan(found.rating).tolist() == [True, False, False]
