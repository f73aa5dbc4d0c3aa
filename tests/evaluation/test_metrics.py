import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from reward.evaluation.metrics import (
    brier,
    calibration_error,
    calibration_error_by_chance,
    credit,
    estimate,
    gap_class,
    holm,
    length_class,
    log_loss,
    measure,
    pearson,
    spearman,
    weaker,
    wilson,
)
from reward.evaluation.scores import Scored
from reward.harness.errors import InputError
from tests.support.evidence import SETTINGS


def scores(chosen, rejected, lengths=None, ratings=None, words=None, prompts=None):
    n = len(chosen)
    prompts = range(n) if prompts is None else prompts
    words = [0.0] * n if words is None else words
    lengths = lengths or [(10, 10)] * n
    ratings = ratings or [(None, None)] * n
    return pa.table(
        {
            "pair_id": [f"pair-{row}" for row in range(n)],
            "prompt_id": [f"prompt-{prompt}" for prompt in prompts],
            "chosen_score": pa.array(chosen, pa.float64()),
            "rejected_score": pa.array(rejected, pa.float64()),
            "chosen_tokens": pa.array([pair[0] for pair in lengths], pa.int32()),
            "rejected_tokens": pa.array([pair[1] for pair in lengths], pa.int32()),
            "chosen_rating": pa.array([pair[0] for pair in ratings], pa.float64()),
            "rejected_rating": pa.array([pair[1] for pair in ratings], pa.float64()),
            "bag_of_words_margin": pa.array(words, pa.float64()),
        }
    )


def test_a_tie_is_half_right():
    assert credit(np.array([2.0, -0.1, 0.0, 1e-300])).tolist() == [1, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes, trials, low, high):
    assert wilson(successes / trials, trials, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy_on_whole_successes(case):
    successes, trials = case
    test = stats.binomtest(successes, trials)
    expected = test.proportion_ci(confidence_level=0.9, method="wilson")
    found = wilson(successes / trials, trials, 0.9)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, 2 * n), st.just(n))))
def test_wilson_inverts_the_score_test_with_half_successes_too(case):
    # The bounds are where |share - p| = z * sqrt(p * (1 - p) / n): a quadratic in p.
    share, n = case[0] / 2 / case[1], case[1]
    square = stats.norm.ppf(0.975) ** 2 / n
    roots = np.roots([1 + square, -2 * share - square, share * share])
    assert wilson(share, n, 0.95) == pytest.approx(sorted(roots.real), abs=1e-7)


def test_estimate_of_a_group_and_of_none():
    # Wilson at 3.5 of 5: z^2 = 3.841459; centre (0.7 + 0.384146) / 1.768292 = 0.613103;
    # spread 1.959964 * sqrt(0.7 * 0.3 / 5 + 0.0384146) / 1.768292 = 0.314313.
    assert estimate(np.array([1, 1, 0.5, 0, 1]), np.arange(5), 0.95) == {
        "pairs": 5,
        "accuracy": 0.7,
        "accuracy_low": pytest.approx(0.298790, abs=2e-6),
        "accuracy_high": pytest.approx(0.927416, abs=2e-6),
    }
    assert estimate(np.array([]), np.array([]), 0.95) == {
        "pairs": 0,
        "accuracy": None,
        "accuracy_low": None,
        "accuracy_high": None,
    }


LN3 = math.log(3)  # the margin at which the chosen response has probability 3/4


def test_log_loss_by_hand():
    assert log_loss(np.array([LN3, -LN3])) == pytest.approx(
        -(math.log(3 / 4) + math.log(1 / 4)) / 2, abs=1e-15
    )
    assert log_loss(np.zeros(3)) == pytest.approx(math.log(2), abs=1e-15)


def test_log_loss_survives_margins_that_overflow_exp():
    assert log_loss(np.array([-1e4])) == 1e4
    assert log_loss(np.array([1e4])) == 0


def test_brier_by_hand():
    assert brier(np.array([LN3, -LN3])) == pytest.approx((1 / 16 + 9 / 16) / 2, abs=1e-15)
    assert brier(np.zeros(3)) == 0.25


def test_calibration_error_by_hand():
    # Three pairs at confidence 0.75, two of them right: 3/4 * |2/3 - 3/4| = 1/16. The tie has
    # confidence 1/2 and is half right.
    assert calibration_error(np.array([LN3, LN3, -LN3, 0]), 10) == pytest.approx(1 / 16, abs=1e-15)


def test_calibration_error_by_chance_by_hand():
    # Two bins: a pair at 1/2 has the variance 1/4, three at 3/4 have 9/16 together.
    expected = (math.sqrt(2 / 4 / math.pi) + math.sqrt(2 * 9 / 16 / math.pi)) / 4
    margin = np.array([LN3, LN3, -LN3, 0])
    assert calibration_error_by_chance(margin, 10) == pytest.approx(expected, abs=1e-15)


def test_calibration_error_by_chance_is_that_of_outcomes_drawn_as_claimed():
    draws = np.random.default_rng(0)
    claimed = np.abs(draws.normal(0, 2, 400))
    right = draws.random((2000, 400)) < 1 / (1 + np.exp(-claimed))
    drawn = [calibration_error(np.where(one, claimed, -claimed), 10) for one in right]
    assert calibration_error_by_chance(claimed, 10) == pytest.approx(np.mean(drawn), rel=0.03)


def test_calibration_bins_are_open_on_the_left():
    # With two bins the edge is 0.75: margins on it belong to the first bin together with the tie.
    # Accuracy 1/4 (0 and 1/2), mean confidence 5/8; the sure pair is alone, right, at ~1.
    edge = -math.log(1 / 0.75 - 1)
    assert calibration_error(np.array([-edge, 0.0, 50.0]), 2) == pytest.approx(
        2 / 3 * (5 / 8 - 1 / 4), abs=1e-12
    )


def test_correlations_by_hand():
    x, y = np.array([1.0, 2, 3, 4]), np.array([1.0, 4, 9, 1])
    # Deviations (-1.5 -0.5 0.5 1.5) and (-2.75 0.25 5.25 -2.75): 2.5 / sqrt(5 * 42.75).
    assert pearson(x, y) == pytest.approx(2.5 / math.sqrt(5 * 42.75), abs=1e-15)
    # Ranks of y: 1.5 3 4 1.5, deviations (-1 0.5 1.5 -1): 0.5 / sqrt(5 * 4.5).
    assert spearman(x, y) == pytest.approx(0.5 / math.sqrt(5 * 4.5), abs=1e-15)
    assert pearson(x, np.full(4, 2.0)) is None
    assert spearman(np.full(4, 2.0), x) is None


def test_rating_gaps_include_their_upper_bound_whatever_the_rounding():
    # 3.4 - 2.4 is 0.9999999999999998 and 2.2 - 1.2 is 1.0000000000000002.
    ratings = [
        (3.4, 2.4),
        (2.2, 1.2),
        (1.5, 1.0),
        (1.6, 1.0),
        (4.0, 1.0),
        (None, None),
        (3.0, None),
    ]
    scored = Scored.of(scores([0.0] * 7, [0.0] * 7, ratings=ratings))
    assert gap_class(scored, (0.5, 1.0)).tolist() == [1, 1, 0, 1, 2, -1, -1]


def test_length_classes_go_by_the_longer_response():
    lengths = [(127, 3), (3, 128), (383, 383), (384, 1)]
    scored = Scored.of(scores([0.0] * 4, [0.0] * 4, lengths=lengths))
    assert length_class(scored, (128, 384)).tolist() == [0, 1, 1, 2]


def test_measure_by_hand():
    table = scores(
        chosen=[2, 1, 0, -1, 3],
        rejected=[0, 0, 0, 1, 2],
        lengths=[(20, 10), (10, 20), (100, 100), (130, 128), (90, 100)],
        ratings=[(4, 1), (3, 2), (3, 2.6), (None, None), (4, 3.8)],
        words=[1.0, 0, -1, -1, -1],
    )
    # Margins 2 1 0 -2 1: right 1 1 1/2 0 1. Longer wins: 1 0 1/2 1 0.
    values = measure(Scored.of(table), **SETTINGS)
    assert values["pairs"] == 5
    assert values["accuracy"] == 0.7
    assert values["margin_mean"] == pytest.approx(2 / 5)
    # Squares 4 1 0 4 1 have the mean 2; 2 - 0.16 = 1.84.
    assert values["margin_std"] == pytest.approx(math.sqrt(1.84))
    assert values["reward_mean"] == pytest.approx(8 / 10)
    assert values["reward_std"] == pytest.approx(math.sqrt(20 / 10 - 0.64))
    assert values["longer_wins"]["accuracy"] == 0.5
    assert values["shorter_wins"]["accuracy"] == 0.5
    assert values["bag_of_words"]["accuracy"] == 0.3
    # Similar lengths: 100/100, 130/128 and 90/100 (exactly 10 %).
    assert values["similar_length"]["pairs"] == 3
    assert values["similar_length"]["accuracy"] == 0.5
    assert {name: group["pairs"] for name, group in values["rating_gap"].items()} == {
        "small": 2,
        "medium": 1,
        "large": 1,
    }
    assert values["rating_gap"]["small"]["accuracy"] == 0.75
    assert {name: group["pairs"] for name, group in values["response_length"].items()} == {
        "short": 4,
        "medium": 1,
        "long": 0,
    }
    assert values["response_length"]["long"]["accuracy"] is None


def test_measure_equals_an_independent_computation():
    random = np.random.default_rng(3)
    chosen = np.float32(random.normal(0.6, 2, 700)).astype(float)
    rejected = np.float32(random.normal(0, 2, 700)).astype(float)
    rejected[:20] = chosen[:20]
    lengths = [(int(a), int(b)) for a, b in random.integers(5, 600, (700, 2))]
    values = measure(Scored.of(scores(chosen, rejected, lengths)), **SETTINGS)
    p = [1 / (1 + math.exp(r - c)) for c, r in zip(chosen, rejected, strict=True)]
    ones = np.ones(700)
    bins: dict[int, list[tuple[float, float]]] = {}
    for value in p:
        sure = max(value, 1 - value)
        right = 1.0 if value > 0.5 else 0.5 if value == 0.5 else 0.0
        bins.setdefault(max(0, math.ceil((sure - 0.5) / 0.05) - 1), []).append((sure, right))
    error = sum(
        abs(math.fsum(sure for sure, _ in rows) - math.fsum(right for _, right in rows))
        for rows in bins.values()
    )
    assert values["accuracy"] == pytest.approx(
        (sum(c > r for c, r in zip(chosen, rejected, strict=True)) + 10) / 700, abs=1e-9
    )
    assert values["log_loss"] == pytest.approx(metrics.log_loss(ones, p, labels=[0, 1]), abs=1e-9)
    assert values["brier"] == pytest.approx(metrics.brier_score_loss(ones, p), abs=1e-9)
    assert values["calibration_error"] == pytest.approx(error / 700, abs=1e-9)
    tokens = [c for c, _ in lengths] + [r for _, r in lengths]
    rewards = [*chosen, *rejected]
    assert values["reward_length_pearson"] == pytest.approx(
        np.corrcoef(rewards, tokens)[0, 1], abs=1e-9
    )
    assert values["reward_length_spearman"] == pytest.approx(
        stats.spearmanr(rewards, tokens).statistic, abs=1e-9
    )


pairs = st.lists(
    st.tuples(
        st.floats(-1e6, 1e6, width=32),
        st.floats(-1e6, 1e6, width=32),
        st.integers(0, 5000),
        st.integers(0, 5000),
        st.none() | st.floats(0, 4),
    ),
    min_size=1,
    max_size=30,
)


def drawn(rows):
    chosen, rejected, left, right, ratings = zip(*rows, strict=True)
    return scores(
        chosen,
        rejected,
        list(zip(left, right, strict=True)),
        [(None, None) if rating is None else (4.0, rating) for rating in ratings],
    )


@given(pairs)
def test_metrics_are_finite_and_their_groups_add_up(rows):
    values = measure(Scored.of(drawn(rows)), **SETTINGS)
    json.dumps(values, allow_nan=False)
    assert values["accuracy_low"] <= values["accuracy"] <= values["accuracy_high"]
    lengths = values["response_length"].values()
    assert sum(group["pairs"] for group in lengths) == len(rows)
    assert sum(group["pairs"] * (group["accuracy"] or 0) for group in lengths) == pytest.approx(
        len(rows) * values["accuracy"]
    )
    rated = sum(row[4] is not None for row in rows)
    assert sum(group["pairs"] for group in values["rating_gap"].values()) == rated


def against(group, others, prompts=None):
    """`weaker` of the credits of a group and of all others."""
    right, inside = np.array([*group, *others]), np.arange(len(group) + len(others)) < len(group)
    prompts = np.arange(len(right)) if prompts is None else np.array(prompts)
    return weaker(right, prompts, inside, 0.95)


def test_a_group_against_the_others_by_hand():
    # One of three right against three of three: of the 6! / (4! 2!) = 15 ways to place the two
    # wrong pairs, 3 put both into the group.
    assert against([1, 0, 0], [1, 1, 1]) == pytest.approx(3 / 15)
    assert against([1, 1, 1], [1, 0, 0]) == 1
    # Ties make it no surer.
    assert against([0.5, 0, 0], [0.5, 1, 1, 1]) == against([1, 0, 0], [0, 1, 1, 1])
    assert against([1, 0, 0], []) == 1
    assert against([], [1, 0, 0]) == 1


def test_a_group_beside_which_all_pairs_are_wrong_is_not_weaker():
    """247 of 378 in floating-point numbers is not quite 247 / 378 * 378."""
    right = [1] * 247 + [0] * 131
    assert against(right, [0] * 5) == 1
    # All 5 among the 136 wrong ones of 383.
    assert against([0] * 5, right) == pytest.approx(math.comb(136, 5) / math.comb(383, 5))


def test_corrected_for_several_by_hand():
    # The smallest times three; 0.04 times two; 0.05 times one, but not below the one before it.
    assert holm([0.05, 0.01, 0.04]) == pytest.approx([0.08, 0.03, 0.08])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_corrected_values_are_never_smaller_and_in_the_same_order(values):
    corrected = holm(values)
    assert all(before <= after <= 1 for before, after in zip(values, corrected, strict=True))
    assert [c for _, c in sorted(zip(values, corrected, strict=True))] == sorted(corrected)


@given(pairs)
def test_swapping_every_pair_turns_right_into_wrong(rows):
    straight = np.array([row[0] - row[1] for row in rows])
    assert credit(straight).mean() + credit(-straight).mean() == pytest.approx(1)
    assert log_loss(-straight) - log_loss(straight) == pytest.approx(straight.mean(), abs=1e-6)


def test_scores_that_are_not_finite_are_named():
    table = scores([1.0, math.nan], [0.0, 0.0])
    with pytest.raises(InputError, match=r"pair pair-1 has the scores nan and 0\.0"):
        Scored.of(table)
    with pytest.raises(InputError, match="hold no pair"):
        Scored.of(table.slice(0, 0))
