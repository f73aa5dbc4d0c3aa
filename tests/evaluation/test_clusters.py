"""reward.evaluation.clusters: by hand, exactly as before for one pair a prompt, and as often right
as it says where the pairs of a prompt are alike.
"""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reward.evaluation.clusters import effective_prompts, effective_size, per_prompt, sign_flips
from reward.evaluation.metrics import estimate, mcnemar, weaker, wilson
from reward.evaluation.scores import Array

Z = stats.norm.ppf(0.975)


# By hand


def test_three_prompts_by_hand() -> None:
    """Prompt 7 has two pairs of two right, 3 one of two, 5 two of four: 5 of 8."""
    right = np.array([1, 1, 0, 1, 1, 0, 0, 1.0])
    prompt = np.array([7, 7, 3, 3, 5, 5, 5, 5])
    # Beyond the mean 5/8: 2 - 2 * 5/8 = 3/4, 1 - 5/4 = -1/4 and 2 - 4 * 5/8 = -1/2; by rising
    # number of the prompt, and times 3 / 8.
    expected = 5 / 8 + 3 / 8 * np.array([-1 / 4, -1 / 2, 3 / 4])
    assert per_prompt(right, prompt) == pytest.approx(expected)
    assert effective_prompts(prompt) == pytest.approx(8**2 / (4 + 4 + 16))  # 8/3
    # Squares 1/16 + 1/4 + 9/16 = 7/8, over 8^2, times (8/3) / (5/3): 7/320 is the variance. Of
    # independent pairs 5/8 * 3/8 / 7 = 15/448: an effect of 0.65, which counts as 1. What is left
    # is t with 7 degrees of freedom over t with 5/3, squared: 2.3646^2 / 5.1826^2 = 0.208, so the
    # size would be 1.7, but is no smaller than as if all pairs of a prompt were alike.
    assert 8 * (stats.t.ppf(0.975, 7) / stats.t.ppf(0.975, 5 / 3)) ** 2 < 8 / 3
    assert effective_size(right, prompt, 0.95) == pytest.approx(8 / 3)


def test_twenty_prompts_by_hand() -> None:
    """Two pairs each: eight prompts with both right, four with both wrong, eight with one right."""
    right = np.repeat([1, 0, 1, 0.0], [16, 8, 8, 8])
    prompt = np.concatenate([np.repeat(np.arange(12), 2), np.tile(np.arange(12, 20), 2)])
    # Beyond the mean 3/5: 4/5, -6/5 and -1/5; squares 8 * 16/25 + 4 * 36/25 + 8 / 25 = 280/25.
    variance = 280 / 25 / 40**2 * 20 / 19
    alone = 3 / 5 * 2 / 5 / 39
    few = (stats.t.ppf(0.975, 39) / stats.t.ppf(0.975, 19)) ** 2
    size = effective_size(right, prompt, 0.95)
    assert size == pytest.approx(40 / (variance / alone) * few)
    # 0.0073684 / 0.0061538 = 1.19737 and (2.02269 / 2.09302)^2 = 0.93392.
    assert size == pytest.approx(31.199, abs=1e-3)
    # Wilson's formula, as it stands.
    found = estimate(right, prompt, 0.95)
    middle = (0.6 + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * math.sqrt(0.24 / size + (Z / size / 2) ** 2) / (1 + Z**2 / size)
    assert found["pairs"] == 40
    assert found["accuracy"] == 0.6
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(
        (middle - half, middle + half)
    )


def test_where_nothing_shows_how_alike_pairs_are_they_are_all_alike() -> None:
    prompt = np.repeat(np.arange(10), 6)
    for share in (0.0, 1.0):
        assert effective_size(np.full(60, share), prompt, 0.95) == 10
        assert estimate(np.full(60, share), prompt, 0.95)["accuracy_low"] == pytest.approx(
            wilson(share, 10, 0.95)[0]
        )
    assert effective_size(np.tile([1.0, 0.0], 30), np.zeros(60), 0.95) == 1
    assert effective_size(np.tile([1.0, 0.0], 30), prompt, 0.95) > 40  # all prompts half right


def test_the_same_pair_again_is_no_second_pair() -> None:
    right = np.array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1.0])
    again, prompt = right.repeat(6), np.repeat(np.arange(10), 6)
    assert effective_prompts(prompt) == 10
    # All but the divisors: the variance is over 10 - 1 prompts, that of pairs over 60 - 1.
    assert effective_size(again, prompt, 0.95) == pytest.approx(60 * 9 / 59)


def test_prompts_of_very_different_sizes_are_few() -> None:
    prompt = np.concatenate([np.zeros(91), np.arange(1, 10)])
    assert effective_prompts(prompt) == pytest.approx(100**2 / (91**2 + 9))
    right = np.random.default_rng(0).integers(0, 2, 100).astype(float)
    assert effective_size(right, prompt, 0.95) < 2


def test_flips_by_hand() -> None:
    # +3 and -1: of the four ways (3 + 1, 3 - 1, -3 + 1, -3 - 1) all are 2 or further from 0.
    assert sign_flips(np.array([3, -1])) == 1
    # +3 and +1: 4 and -4 of the four.
    assert sign_flips(np.array([3, 0, 1])) == pytest.approx(0.5)
    # 2 2 1 1 1 and all gains: 1 of 32 on each side.
    assert sign_flips(np.array([2, 1, 2, 1, 1])) == pytest.approx(2 / 32)
    assert sign_flips(np.array([0, 0])) == 1
    assert sign_flips(np.array([-2, -2, -2, 2])) == stats.binomtest(1, 4).pvalue


@given(st.lists(st.integers(-6, 6), max_size=12))
def test_flips_are_those_of_all_ways(net: list[int]) -> None:
    sums = np.zeros(1)
    for gain in net:
        sums = np.concatenate([sums + gain, sums - gain])
    expected = (np.abs(sums) >= abs(sum(net))).mean()
    assert sign_flips(np.array(net, int)) == pytest.approx(expected, abs=1e-12)
    assert sign_flips(-np.array(net, int)) == pytest.approx(expected, abs=1e-12)


def test_pairs_of_a_prompt_that_balance_say_nothing() -> None:
    a, b = np.array([1, 0, 0, 0.0]), np.array([0, 1, 0.5, 0])
    assert mcnemar(a, b, np.array([4, 4, 2, 2])) == (2, 1, 1.0)


# One pair a prompt: exactly the figures of independent pairs

credits_of = st.lists(st.sampled_from([0, 0.5, 1.0]), min_size=2, max_size=60).map(np.array)


@given(credits_of, st.randoms(use_true_random=False))
def test_one_pair_a_prompt_is_wilsons_interval_to_the_last_bit(
    right: Array, random: Random
) -> None:
    prompt = np.array(random.sample(range(1000), len(right)))
    assert effective_size(right, prompt, 0.9) == len(right)
    found = estimate(right, prompt, 0.9)
    n, z = len(right), float(stats.norm.ppf(0.95))
    share = float(right.sum()) / n
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((share + z * z / (2 * n) + side) / (1 + z * z / n) for side in (-spread, spread))
    assert found["accuracy_low"] == (0 if share == 0 else low)
    assert found["accuracy_high"] == (1 if share == 1 else high)


@given(credits_of, credits_of)
def test_one_pair_a_prompt_is_mcnemars_and_fishers_test_to_the_last_bit(
    right: Array, other: Array
) -> None:
    n = min(len(right), len(other))
    a, b, prompt = right[:n], other[:n], np.arange(n)
    better, worse = int((b > a).sum()), int((b < a).sum())
    p = stats.binomtest(better, better + worse).pvalue if better + worse else 1
    assert mcnemar(a, b, prompt) == (better, worse, p)
    both = np.concatenate([right, other])
    inside = np.arange(len(both)) < len(right)
    won, lost = math.ceil(right.sum()), math.floor(other.sum())
    table = [[won, len(right) - won], [lost, len(other) - lost]]
    expected = stats.fisher_exact(table, alternative="less").pvalue
    assert weaker(both, np.arange(len(both)), inside, 0.95) == expected


def test_one_pair_a_prompt_leaves_values_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=(3, 20))
    assert per_prompt(values, np.random.default_rng(1).permutation(20)) is values


# Several pairs a prompt


@given(credits_of, st.data())
def test_sizes_are_between_one_and_all_pairs(right: Array, data: st.DataObject) -> None:
    prompt = np.array(data.draw(st.lists(st.integers(0, 8), min_size=len(right))))[: len(right)]
    assert 1 <= effective_size(right, prompt, 0.95) <= len(right)
    found = estimate(right, prompt, 0.95)
    assert 0 <= found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"] <= 1


def test_values_of_prompts_have_the_mean_of_the_pairs_and_its_standard_error() -> None:
    """Runs of pairs in shuffled order; the error is that of prompts that are drawn again."""
    random = np.random.default_rng(2)
    prompt = random.permutation(np.repeat(np.arange(300), random.integers(1, 8, 300)))
    pairs = random.normal(size=300)[prompt] + random.normal(size=(2, len(prompt)))
    values = per_prompt(pairs, prompt)
    assert values.shape == (2, 300)
    assert values.mean(axis=1) == pytest.approx(pairs.mean(axis=1))
    sums = np.stack([np.bincount(prompt, run) for run in (*pairs, np.ones(len(prompt)))])
    drawn = sums[:, random.integers(0, 300, (4000, 300))].sum(axis=2)
    expected = (drawn[:2] / drawn[2]).std(axis=1)
    assert values.std(axis=1) / math.sqrt(300) == pytest.approx(expected, rel=0.05)


def clustered(
    random: np.random.Generator, sizes: Array, share: float, correlation: float
) -> tuple[Array, Array]:
    """Credits whose prompts have a share of their own, by a beta distribution that makes two pairs
    of a prompt correlate as asked; and the prompt of each.
    """
    total = (1 - correlation) / correlation
    own = random.beta(share * total, (1 - share) * total, len(sizes))
    prompt = np.repeat(np.arange(len(sizes)), sizes)
    return (random.random(len(prompt)) < own[prompt]).astype(float), prompt


@pytest.mark.parametrize("prompts", [20, 60])
@pytest.mark.parametrize("pairs", ["six", "one to six"])
def test_intervals_hold_the_truth_as_often_as_they_say(prompts: int, pairs: str) -> None:
    """At 95 %, in 92 to 98 % of 1000 samples; as independent pairs in fewer than 90 %."""
    random, held = np.random.default_rng(prompts), {"prompts": 0, "pairs": 0}
    for _ in range(1000):
        sizes = np.full(prompts, 6) if pairs == "six" else random.integers(1, 7, prompts)
        right, prompt = clustered(random, sizes, 0.75, 0.3)
        for name, draws in (("prompts", prompt), ("pairs", np.arange(len(prompt)))):
            found = estimate(right, draws, 0.95)
            held[name] += found["accuracy_low"] <= 0.75 <= found["accuracy_high"]
    assert 920 <= held["prompts"] <= 980
    assert held["pairs"] < 900


def test_p_values_of_equal_models_are_small_as_rarely_as_they_say() -> None:
    """Two models that are equally good on average, each better on prompts of its own. With every
    pair as a draw of its own, more than a fifth of the p values are below 0.05.
    """
    random, found = np.random.default_rng(4), []
    for _ in range(1000):
        own = random.choice([-0.3, 0.3], 60)  # what B is better by
        prompt = np.repeat(np.arange(60), 6)
        a = (random.random(360) < 0.6 - own[prompt]).astype(float)
        b = (random.random(360) < 0.6 + own[prompt]).astype(float)
        found.append([mcnemar(a, b, draws)[2] for draws in (prompt, np.arange(360))])
    of_prompts, of_pairs = np.array(found).T
    for level in (0.05, 0.2, 0.5):
        deviation = math.sqrt(level * (1 - level) / 1000)
        assert (of_prompts <= level).mean() <= level + 3 * deviation
        assert (of_prompts <= level).mean() >= level - 3 * deviation - 0.05  # discrete
    assert (of_pairs <= 0.05).mean() > 0.2


@pytest.mark.parametrize("shared", [False, True], ids=["prompts of its own", "the same prompts"])
def test_a_group_as_good_as_the_others_is_rarely_called_weaker(shared: bool) -> None:
    random, found = np.random.default_rng(5), []
    for _ in range(1000):
        right, prompt = clustered(random, np.full(60, 6), 0.7, 0.3)
        inside = random.random(360) < 0.5 if shared else prompt < 30
        found.append(
            [weaker(right, draws, inside, 0.95) for draws in (prompt, np.arange(360))],
        )
    of_prompts, of_pairs = (np.array(found) <= 0.05).mean(axis=0)
    assert of_prompts <= 0.06
    if not shared:
        assert of_pairs > 0.1


def test_a_group_that_is_weaker_is_found() -> None:
    random = np.random.default_rng(6)
    weak, prompt = clustered(random, np.full(60, 6), 0.5, 0.3)
    strong, _ = clustered(random, np.full(60, 6), 0.8, 0.3)
    both, prompts = np.concatenate([weak, strong]), np.concatenate([prompt, prompt + 60])
    assert weaker(both, prompts, np.arange(720) < 360, 0.95) < 0.001
    assert weaker(both, prompts, np.arange(720) >= 360, 0.95) > 0.999


def test_a_hundred_thousand_pairs_take_a_moment() -> None:
    random = np.random.default_rng(8)
    right, prompt = clustered(random, np.full(5000, 21), 0.75, 0.3)
    other, _ = clustered(random, np.full(5000, 21), 0.7, 0.3)
    # 21 pairs that correlate by 0.3 have a design effect of 1 + 20 * 0.3.
    assert effective_size(right, prompt, 0.95) == pytest.approx(105_000 / 7, rel=0.1)
    assert mcnemar(other, right, prompt)[2] < 1e-10
