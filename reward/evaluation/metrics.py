"""What the scores of a set of pairs say: accuracy, calibration, baselines, groups.

Everything here is a pure function of per-pair arrays. The chosen response always comes first, so
the margin (chosen score - rejected score) is the log odds of the right answer under Bradley-Terry,
and every outcome is 1. Intervals and p values take the pairs of a prompt for one draw
(reward.evaluation.clusters); `prompt` says which prompt each pair is of, whole numbers, (pairs,).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from reward.evaluation.clusters import effective_size, sign_flips
from reward.evaluation.resampling import by_prompt
from reward.evaluation.scores import Array, Scored

GAPS = ("small", "medium", "large")
LENGTHS = ("short", "medium", "long")


def measure(
    scored: Scored,
    *,
    confidence: float,
    calibration_bins: int,
    rating_gaps: tuple[float, float],
    response_lengths: tuple[int, int],
    similar_length: float,
) -> dict[str, Any]:
    """All that is measured on a set of pairs: finite values, or None where there is nothing to say.

    Args:
        confidence: level of every interval, between 0 and 1.
        calibration_bins: see `calibration_error`.
        rating_gaps, response_lengths: see `gap_class` and `length_class`.
        similar_length: lengths that differ by at most this share of the longer are similar.

    Standard deviations are those of the population (divided by n).
    """
    right = credit(scored.margin)
    difference = np.abs(scored.chosen_tokens - scored.rejected_tokens)
    gaps = gap_class(scored, rating_gaps)
    lengths = length_class(scored, response_lengths)
    return {
        **summary(scored, confidence, calibration_bins),
        "similar_length": group(
            right, scored.prompt, difference <= similar_length * scored.longer, confidence
        ),
        "rating_gap": {
            name: group(right, scored.prompt, gaps == index, confidence)
            for index, name in enumerate(GAPS)
        },
        "response_length": {
            name: group(right, scored.prompt, lengths == index, confidence)
            for index, name in enumerate(LENGTHS)
        },
    }


def summary(scored: Scored, confidence: float, calibration_bins: int) -> dict[str, Any]:
    """What is measured on every set of scored pairs; it needs neither ratings nor groups."""
    longer_wins = credit(scored.chosen_tokens - scored.rejected_tokens)
    prompt = scored.prompt
    return {
        "prompts": len(np.unique(prompt)),
        **estimate(credit(scored.margin), prompt, confidence),
        "log_loss": log_loss(scored.margin),
        "brier": brier(scored.margin),
        "calibration_error": calibration_error(scored.margin, calibration_bins),
        "calibration_error_by_chance": calibration_error_by_chance(scored.margin, calibration_bins),
        "margin_mean": float(scored.margin.mean()),
        "margin_std": float(scored.margin.std()),
        "reward_mean": float(scored.rewards.mean()),
        "reward_std": float(scored.rewards.std()),
        "reward_length_pearson": pearson(scored.rewards, scored.tokens),
        "reward_length_spearman": spearman(scored.rewards, scored.tokens),
        "longer_wins": estimate(longer_wins, prompt, confidence),
        "shorter_wins": estimate(1 - longer_wins, prompt, confidence),
        "bag_of_words": estimate(credit(scored.bag_of_words), prompt, confidence),
    }


def headline(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures of `measure` or `summary` by which runs are compared (metrics/evaluate.json).

    Of the baselines it has the accuracies alone.
    """
    own = ("pairs", "accuracy", "accuracy_low", "accuracy_high")
    scores = ("log_loss", "brier", "calibration_error")
    return {name: measured[name] for name in (*own, *scores)} | {
        name: {"accuracy": measured[name]["accuracy"]} for name in ("longer_wins", "bag_of_words")
    }


def credit(margin: Array) -> Array:
    """1 for a positive margin, 1/2 for a tie, 0 for a negative one; the mean is the accuracy.

    Ties count one half, as in the Mann-Whitney statistic (Hanley and McNeil 1982, eq. 1), so that
    a constant model scores 0.5.
    """
    return (np.sign(margin) + 1) / 2


def estimate(right: Array, prompt: Array, confidence: float) -> dict[str, Any]:
    """Pairs, accuracy and its interval of the credits `right`, shape (pairs,): Wilson's with the
    `effective_size` of pairs whose prompts were drawn.
    """
    if len(right) == 0:
        return {"pairs": 0, "accuracy": None, "accuracy_low": None, "accuracy_high": None}
    share = float(right.mean())
    low, high = wilson(share, effective_size(right, prompt, confidence), confidence)
    return {
        "pairs": len(right),
        "accuracy": share,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def group(right: Array, prompt: Array, inside: Array, confidence: float) -> dict[str, Any]:
    """The `estimate` of the pairs that are `inside`, bool (pairs,), and as weaker_p the p value of
    `weaker`.
    """
    return {
        **estimate(right[inside], prompt[inside], confidence),
        "weaker_p": weaker(right, prompt, inside, confidence),
    }


def wilson(share: float, trials: float, confidence: float) -> tuple[float, float]:
    """Interval of a proportion by inverting the score test (Wilson 1927, JASA 22, p. 209-212).

    scipy's binomtest takes whole successes of whole trials only; ties bring halves, and effective
    sizes any fraction, for which the formula stands as it is. A half varies less than a success or
    a failure, so with ties the interval is, if anything, too wide.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At a share of 0 or 1 the bound equals it, which rounding would miss by a little.
    low = 0.0 if share == 0 else (centre - spread) / scale
    high = 1.0 if share == 1 else (centre + spread) / scale
    return low, high


def log_loss(margin: Array) -> float:
    """Mean of -ln sigmoid(margin) = softplus(-margin), in nats.

    The Bradley-Terry loss (Ouyang et al. 2022, eq. 1, arXiv 2203.02155). ln 2 for a constant model.
    """
    return float(np.logaddexp(0, -margin).mean())


def brier(margin: Array) -> float:
    """Mean of (1 - sigmoid(margin))^2: every outcome is 1.

    Half of eq. 2 of Brier 1950, which counts both classes; as scikit-learn's brier_score_loss.
    0.25 for a constant model.
    """
    return float((special.expit(-margin) ** 2).mean())


def calibration_error(margin: Array, bins: int) -> float:
    """Expected calibration error (Guo et al. 2017, eq. 3, arXiv 1706.04599).

    Sum over bins of (pairs in the bin / pairs) * |accuracy of the bin - mean confidence of the
    bin|. Confidence is the probability of the response that the model prefers, max(p, 1 - p) with
    p = sigmoid(margin); `bins` bins of equal width cover [0.5, 1], open on the left, and ties are
    in the first.
    """
    gaps = [
        len(rows) * abs(credit(margin[rows]).mean() - preference(margin[rows]).mean())
        for rows in calibration_bins(margin, bins)
        if len(rows)
    ]
    return float(sum(gaps) / len(margin))


def calibration_error_by_chance(margin: Array, bins: int) -> float:
    """What `calibration_error` would be in the mean if every probability were true.

    It is above 0, as each bin's accuracy strays from its confidence by luck (Broecker and Smith
    2007, Weather and Forecasting 22, p. 651-661, who draw such outcomes). Here the right answers of
    a bin less those expected are taken for normal, with variance v = sum of p (1 - p), so that
    their absolute mean is sqrt(2 v / pi).
    """
    confidence = preference(margin)
    variances = [
        (confidence[rows] * (1 - confidence[rows])).sum() for rows in calibration_bins(margin, bins)
    ]
    return float(np.sqrt(2 * np.array(variances) / np.pi).sum() / len(margin))


def preference(margin: Array) -> Array:
    """Probability of the response that the model prefers, sigmoid(|margin|), in [0.5, 1]."""
    return special.expit(np.abs(margin))


def calibration_bins(margin: Array, bins: int) -> list[Array]:
    """Row numbers of each bin of `calibration_error`, in order."""
    edges = np.linspace(0.5, 1, bins + 1)
    number = np.searchsorted(edges[1:-1], preference(margin), side="left")
    return [np.flatnonzero(number == index) for index in range(bins)]


def mcnemar(right_a: Array, right_b: Array, prompt: Array) -> tuple[int, int, float]:
    """Pairs on which B does better than A, those on which it does worse, and McNemar's exact p.

    McNemar 1947, Psychometrika 12, p. 153-157, as the two-sided binomial test that a pair on which
    the credits differ is as likely to be better in A as in B; 1 where none differs. With ties,
    which are right by one half, this is the sign test. Where prompts have several pairs, what is
    as likely is each prompt's balance, better less worse, and its reverse (`sign_flips`).
    """
    change = np.sign(right_b - right_a)
    net = by_prompt(change[:, None], prompt)[:, 0].astype(int)
    return int((change > 0).sum()), int((change < 0).sum()), sign_flips(net)


def weaker(right: Array, prompt: Array, inside: Array, confidence: float) -> float:
    """The chance that a group gets as few of its pairs right as it does, or fewer, if it is no
    weaker than the other pairs. inside: which pairs are of the group, bool (pairs,).

    Fisher's exact test, one-sided (Fisher 1935, J. R. Stat. Soc. 98, p. 39-82), of pairs and of
    right ones that were both scaled to the `effective_size` of the group and to that of the others
    (Rao and Scott 1992, Biometrics 48, p. 577-585). Where prompts have pairs in the group and among
    the others, what these have in common makes the true difference vary less: p is then, if
    anything, too large. The test counts whole pairs: sizes are rounded down, and right ones, of
    which ties bring halves, so that the group seems less weak. 1 without a pair on either side.
    """
    table = []
    for part, rounded in ((inside, math.ceil), (~inside, math.floor)):
        pairs = int(part.sum())
        if not pairs:
            return 1.0
        size = math.floor(effective_size(right[part], prompt[part], confidence))
        won = rounded(float(right[part].sum()) * size / pairs)
        table.append([won, size - won])
    return float(stats.fisher_exact(table, alternative="less").pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for looking at several (Holm 1979, Scand. J. Stat. 6, p. 65-70).

    The smallest is multiplied by their number, the next by one less, and so on; none gets smaller
    than the one before it or larger than 1. Whatever the tests have in common, the chance that any
    true hypothesis is rejected at some level is at most that level.
    """
    corrected, least = [1.0] * len(values), 0.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        least = max(least, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = least
    return corrected


def pearson(x: Array, y: Array) -> float | None:
    """Product-moment correlation; None where one side is constant (or there is a single value)."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(stats.pearsonr(x, y).statistic)


def spearman(x: Array, y: Array) -> float | None:
    """Correlation of the ranks, ties sharing their mean rank; None as in `pearson`."""
    return pearson(stats.rankdata(x), stats.rankdata(y))


def gap_class(scored: Scored, rating_gaps: tuple[float, float]) -> Array:
    """Index into GAPS by rating gap: small <= first < medium <= second < large; -1 if unrated."""
    classes = np.searchsorted(np.array(rating_gaps), scored.rating_gap, side="left")
    return np.where(np.isnan(scored.rating_gap), -1, classes)


def length_class(scored: Scored, response_lengths: tuple[int, int]) -> Array:
    """Index into LENGTHS by the longer response: short < first <= medium < second <= long."""
    return np.searchsorted(np.array(response_lengths), scored.longer, side="right")
