"""What the best of n answers by reward gains, against counting every draw."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.evaluation.answers import Answers
from reward.evaluation.best_of_n_gain import gain_by_n, gains
from reward.evaluation.resampling import Bootstrap

BOOTSTRAP = Bootstrap(confidence=0.95, resamples=200, seed=1)


def counted(rating: list[float], reward: list[float], n: int) -> float:
    """Every draw of n, the best of it by reward, ties sharing; less the mean."""
    found = []
    for drawn in combinations(range(len(rating)), n):
        most = max(reward[i] for i in drawn)
        found.append(np.mean([rating[i] for i in drawn if reward[i] == most]))
    return float(np.mean(found) - np.mean(rating))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=7),
    n=st.integers(1, 8),
)
def test_all_draws_give_the_same(pairs: list[tuple[int, int]], n: int) -> None:
    n = min(n, len(pairs))
    rating, reward = (np.array(column, float) for column in zip(*pairs, strict=True))
    (found,) = gains(rating, reward, np.zeros(len(pairs), int), n)
    assert found == pytest.approx(counted(list(rating), list(reward), n))


def test_gains_by_hand() -> None:
    # Ratings 4, 1, 1 with the rewards 2, 3, 1. Two of them: 1, 4 or 1 is chosen, 2 on average, as
    # much as their mean; all three: 1. The second prompt's two tie: their mean.
    rating, reward = np.array([4.0, 3, 1, 1, 2]), np.array([2.0, 7, 3, 1, 7])
    prompt = np.array([5, 9, 5, 5, 9])
    assert gains(rating, reward, prompt, 2) == pytest.approx([0, 0])
    assert gains(rating[prompt == 5], reward[prompt == 5], prompt[prompt == 5], 3) == [-1]
    assert gains(rating, rating, prompt, 2) == pytest.approx([3 - 2, 3 - 2.5])


def answers(rating: np.ndarray, reward: np.ndarray, prompt: np.ndarray) -> Answers:
    none = np.zeros(len(rating))
    return Answers(prompt, reward, rating, none, none, none[:, None].astype(bool))


def test_each_n_counts_the_prompts_that_have_as_many_rated_answers() -> None:
    """30 prompts with two answers, 12 with five of which one has no rating, 9 with nine."""
    sizes = [2] * 30 + [5] * 12 + [9] * 9
    prompt = np.repeat(np.arange(51), sizes)
    rating = np.concatenate([np.arange(size, dtype=float) for size in sizes])
    reward = rating.copy()
    rating[np.isin(prompt, range(30, 42)) & (rating == 4)] = np.nan
    rows = gain_by_n(answers(rating, reward, prompt), BOOTSTRAP)
    # For n = 8 there are 9 prompts, fewer than are asked for.
    assert [(row["n"], row["prompts"]) for row in rows] == [(1, 51), (2, 51), (4, 21)]
    assert rows[0]["gain"] == {"mean": 0, "low": 0, "high": 0}
    # The higher of two of 0 .. m - 1 is (2 m - 1) / 3 on average, 1/6 + m/6 above the mean.
    by_hand = (30 * 3 / 6 + 12 * 5 / 6 + 9 * 10 / 6) / 51
    assert rows[1]["gain"]["mean"] == pytest.approx(by_hand)
    assert rows[1]["possible"] == pytest.approx(by_hand)
    assert rows[1]["gain"]["low"] < by_hand < rows[1]["gain"]["high"]


def test_a_reward_against_the_rating_loses_what_could_be_won() -> None:
    prompt = np.repeat(np.arange(20), 4)
    rating = np.tile([0.0, 1, 2, 3], 20)
    row = gain_by_n(answers(rating, -rating, prompt), BOOTSTRAP)[-1]
    assert row["n"] == 4
    assert row["gain"]["mean"] == -1.5
    assert row["possible"] == 1.5


def test_without_ratings_there_is_no_figure() -> None:
    prompt = np.repeat(np.arange(20), 2)
    assert gain_by_n(answers(np.full(40, np.nan), np.arange(40.0), prompt), BOOTSTRAP) == []
