"""What the scores of a set of pairs say: accuracy, calibration, baselines, groups.

Everything here is a pure function of per-pair arrays. The chosen response always comes first, so
the margin (chosen score - rejected score) is the log odds of the right answer under Bradley-Terry,
and every outcome is 1.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse, special, stats
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from reward.stage import InputError

Array = NDArray[Any]

GAPS = ("small", "medium", "large")
LENGTHS = ("short", "medium", "long")


def score_table(pairs: pa.Table, rewards: Array) -> pa.Table:
    """The rows of data/scores.

    pairs: a token table, or the columns of one that are kept here. rewards: (pairs, 2), chosen
    first.
    """
    chosen, rejected = rewards.astype(np.float64).T
    scores = pa.table({"chosen_score": chosen, "rejected_score": rejected})
    kept = ("chosen_tokens", "rejected_tokens", "chosen_rating", "rejected_rating")
    return pa.table(
        {"pair_id": pairs["pair_id"]}
        | {name: scores[name] for name in scores.column_names}
        | {name: pairs[name] for name in kept}
    )


@dataclass(frozen=True)
class Scored:
    """The columns of data/scores as arrays of shape (pairs,)."""

    chosen: Array  # score, float64
    rejected: Array
    chosen_tokens: Array  # length of the response before truncation, int64
    rejected_tokens: Array
    rating_gap: Array  # chosen rating - rejected rating, float64; NaN where the pair has no ratings

    @classmethod
    def of(cls, scores: pa.Table) -> Self:
        """Raises InputError for a set without pairs and for a score that is not finite."""
        if scores.num_rows == 0:
            raise InputError("the scores hold no pair: evaluate needs at least one.")

        def column(name: str, kind: type) -> Array:
            return scores[name].to_numpy().astype(kind)

        chosen, rejected = column("chosen_score", float), column("rejected_score", float)
        for row in np.flatnonzero(~np.isfinite(chosen - rejected))[:1]:
            raise InputError(
                f"pair {scores['pair_id'][row]} has the scores {chosen[row]} and {rejected[row]}, "
                f"which must be finite: train the model again with a lower learning_rate."
            )
        # Ratings are decimal fractions: without rounding, 3.4 - 2.4 is less than 1.
        gap = np.round(column("chosen_rating", float) - column("rejected_rating", float), 9)
        tokens = column("chosen_tokens", int), column("rejected_tokens", int)
        return cls(chosen, rejected, *tokens, gap)

    @property
    def margin(self) -> Array:
        return self.chosen - self.rejected

    @property
    def rewards(self) -> Array:
        """Scores of all responses, shape (2 * pairs,): the chosen ones, then the rejected ones."""
        return np.concatenate([self.chosen, self.rejected])

    @property
    def tokens(self) -> Array:
        """Lengths of all responses, in the order of `rewards`."""
        return np.concatenate([self.chosen_tokens, self.rejected_tokens])

    @property
    def longer(self) -> Array:
        """Length of the longer response of each pair."""
        return np.maximum(self.chosen_tokens, self.rejected_tokens)


def measure(
    scored: Scored,
    bag_of_words: Array,
    *,
    confidence: float,
    calibration_bins: int,
    rating_gaps: tuple[float, float],
    response_lengths: tuple[int, int],
    similar_length: float,
) -> dict[str, Any]:
    """The content of metrics/evaluate.json: finite values, or None where there is nothing to say.

    Args:
        bag_of_words: margins of that baseline on the same pairs, shape (pairs,).
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
        "bag_of_words": estimate(credit(bag_of_words), confidence),
        "similar_length": estimate(right[difference <= similar_length * scored.longer], confidence),
        "rating_gap": {
            name: estimate(right[gaps == index], confidence) for index, name in enumerate(GAPS)
        },
        "response_length": {
            name: estimate(right[lengths == index], confidence)
            for index, name in enumerate(LENGTHS)
        },
    }


def summary(scored: Scored, confidence: float, calibration_bins: int) -> dict[str, Any]:
    """What can be said of any set of scored pairs, whatever is known about them beside."""
    longer_wins = credit(scored.chosen_tokens - scored.rejected_tokens)
    return {
        **estimate(credit(scored.margin), confidence),
        "log_loss": log_loss(scored.margin),
        "brier": brier(scored.margin),
        "calibration_error": calibration_error(scored.margin, calibration_bins),
        "margin_mean": float(scored.margin.mean()),
        "margin_std": float(scored.margin.std()),
        "reward_mean": float(scored.rewards.mean()),
        "reward_std": float(scored.rewards.std()),
        "reward_length_pearson": pearson(scored.rewards, scored.tokens),
        "reward_length_spearman": spearman(scored.rewards, scored.tokens),
        "longer_wins": estimate(longer_wins, confidence),
        "shorter_wins": estimate(1 - longer_wins, confidence),
    }


def credit(margin: Array) -> Array:
    """1 for a positive margin, 1/2 for a tie, 0 for a negative one; the mean is the accuracy.

    Ties count one half, as in the Mann-Whitney statistic (Hanley and McNeil 1982, eq. 1), so that
    a constant model scores 0.5.
    """
    return (np.sign(margin) + 1) / 2


def estimate(right: Array, confidence: float) -> dict[str, Any]:
    """Pairs, accuracy and its Wilson interval of the credits `right`, shape (pairs,)."""
    if len(right) == 0:
        return {"pairs": 0, "accuracy": None, "accuracy_low": None, "accuracy_high": None}
    low, high = wilson(float(right.sum()), len(right), confidence)
    return {
        "pairs": len(right),
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
    }


def wilson(successes: float, trials: int, confidence: float) -> tuple[float, float]:
    """Interval of a proportion by inverting the score test (Wilson 1927, JASA 22, p. 209-212).

    scipy's binomtest takes whole successes only; ties bring halves, for which the formula stands
    as it is. A half varies less than a success or a failure, so with ties the interval is, if
    anything, too wide.
    """
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At a share of 0 or 1 the bound equals it, which rounding would miss by a little.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
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


def preference(margin: Array) -> Array:
    """Probability of the response that the model prefers, sigmoid(|margin|), in [0.5, 1]."""
    return special.expit(np.abs(margin))


def calibration_bins(margin: Array, bins: int) -> list[Array]:
    """Row numbers of each bin of `calibration_error`, in order."""
    edges = np.linspace(0.5, 1, bins + 1)
    number = np.searchsorted(edges[1:-1], preference(margin), side="left")
    return [np.flatnonzero(number == index) for index in range(bins)]


def mcnemar(right_a: Array, right_b: Array) -> tuple[int, int, float]:
    """Pairs on which B does better than A, those on which it does worse, and McNemar's exact p.

    McNemar 1947, Psychometrika 12, p. 153-157, as the two-sided binomial test that a pair on which
    the credits differ is as likely to be better in A as in B; 1 where none differs. With ties,
    which are right by one half, this is the sign test.
    """
    better, worse = int((right_b > right_a).sum()), int((right_b < right_a).sum())
    if better + worse == 0:
        return 0, 0, 1.0
    return better, worse, float(stats.binomtest(better, better + worse).pvalue)


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


def bag_of_words(
    train: Iterable[pa.RecordBatch],
    validation: Iterable[pa.RecordBatch],
    *,
    strength: float,
    limit: int,
) -> Array:
    """Margins of a logistic regression on token counts, shape (validation pairs,).

    What the choice of words alone achieves: no order, no context. The features x of a pair are
    ln(1 + count of the token) in chosen minus the same in rejected (logarithms, because a few
    very frequent tokens would rule plain counts); there is no intercept, so swapping the sides
    changes the margin's sign. Minimises
    strength * (sum over pairs of softplus(-w . x)) + |w|^2 / 2 with scikit-learn's L-BFGS.

    Args:
        train, validation: batches with the columns chosen_ids and rejected_ids of data/tokens.
        strength: of the data against the regularisation, scikit-learn's C.
        limit: only the first `limit` training pairs are read, which bounds time and memory.
    """
    learned = _features(_head(train, limit))
    # scikit-learn wants to see both classes: every pair also stands there with its sides swapped,
    # which doubles the sum in the objective and is undone by half the strength.
    model = LogisticRegression(C=strength / 2, fit_intercept=False, max_iter=1000)
    # One thread: the vectors are too short to share, and sums do not depend on the cores at hand.
    with threadpool_limits(1):
        model.fit(sparse.vstack([learned, -learned]), np.repeat([1, 0], learned.shape[0]))
    judged = _features(validation)
    judged.resize(judged.shape[0], learned.shape[1])  # tokens that training never saw say nothing
    return judged @ model.coef_[0]


def _head(batches: Iterable[pa.RecordBatch], limit: int) -> Iterable[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, limit)
        limit -= batch.num_rows
        if limit <= 0:
            return


def _features(batches: Iterable[pa.RecordBatch]) -> sparse.csr_array:
    """ln(1 + count) in chosen minus that in rejected, shape (pairs, largest token id + 1)."""
    parts = []
    for batch in batches:
        chosen, rejected = _log_counts(batch["chosen_ids"]), _log_counts(batch["rejected_ids"])
        width = max(chosen.shape[1], rejected.shape[1])
        for counts in (chosen, rejected):
            counts.resize(counts.shape[0], width)
        parts.append(chosen - rejected)
    width = max(part.shape[1] for part in parts)
    for part in parts:
        part.resize(part.shape[0], width)
    return sparse.vstack(parts, format="csr")


def _log_counts(ids: pa.ListArray) -> sparse.csr_array:
    tokens = ids.flatten().to_numpy()
    starts = np.concatenate([[0], np.cumsum(ids.value_lengths().to_numpy())])
    shape = (len(ids), int(tokens.max(initial=0)) + 1)
    counts = sparse.csr_array((np.ones(len(tokens)), tokens, starts), shape=shape, copy=True)
    counts.sum_duplicates()
    return counts.log1p()
