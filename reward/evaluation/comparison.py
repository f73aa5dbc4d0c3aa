"""What changed from one run to another: their scores, matched pair by pair."""

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from reward.evaluation.metrics import credit, log_loss, mcnemar
from reward.evaluation.scores import Array, Score
from reward.harness.errors import InputError


def match(*runs: pa.Table, intersection: bool) -> tuple[Array, ...]:
    """Pair ids in rising order, and each run's margins of these pairs; all of shape (pairs,).

    Raises InputError for different validation sets, unless `intersection` asks for the pairs that
    are in all, and for sets that have none in common.
    """
    ids, margins = zip(*map(_by_id, runs), strict=True)
    if all(np.array_equal(ids[0], others) for others in ids):
        return ids[0], *margins
    common = reduce(np.intersect1d, ids)
    if len(common) == 0:
        raise InputError(
            "the revisions have no validation pair in common: "
            "compare revisions of the same dataset."
        )
    if not intersection:
        raise InputError(
            f"the validation sets differ ({' and '.join(str(len(some)) for some in ids)} pairs, "
            f"{len(common)} in common): compare revisions of the same split, or pass "
            f"--intersection."
        )
    rows = [np.searchsorted(some, common) for some in ids]  # the first of each
    return common, *(margin[those] for margin, those in zip(margins, rows, strict=True))


def _by_id(scores: pa.Table) -> tuple[Array, Array]:
    table = scores.sort_by(Score.PAIR_ID)
    margin = table[Score.CHOSEN_SCORE].to_numpy() - table[Score.REJECTED_SCORE].to_numpy()
    return table[Score.PAIR_ID].to_numpy().astype(str), margin


def compare(
    pair_ids: Array,
    margin_a: Array,
    margin_b: Array,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    top: int,
) -> dict[str, Any]:
    """What changed from A to B, for matched arrays of shape (pairs,); differences are B - A.

    The accuracy difference comes with its paired bootstrap interval, the log loss difference with
    its paired t interval (Student 1908; None for a single pair). `better`, `worse` and `mcnemar_p`
    are those of `reward.evaluation.metrics.mcnemar`. `agreement` is the share of pairs that both
    order alike, a tie being an order of its own. A pair flipped if its order changed; `flips` holds
    the `top` ones whose margins moved furthest.
    """
    right_a, right_b = credit(margin_a), credit(margin_b)
    better, worse, p = mcnemar(right_a, right_b)
    low, high = bootstrap(right_b - right_a, confidence, resamples, seed)
    flipped = np.flatnonzero(right_a != right_b)
    furthest = flipped[np.argsort(-np.abs(margin_b - margin_a)[flipped], kind="stable")]
    return {
        "pairs": len(pair_ids),
        "confidence": confidence,
        "accuracy_a": float(right_a.mean()),
        "accuracy_b": float(right_b.mean()),
        "accuracy_difference": float((right_b - right_a).mean()),
        "accuracy_difference_low": low,
        "accuracy_difference_high": high,
        "mcnemar_p": p,
        "agreement": float((right_a == right_b).mean()),
        "better": better,
        "worse": worse,
        "log_loss_a": log_loss(margin_a),
        "log_loss_b": log_loss(margin_b),
        **_log_loss_difference(margin_a, margin_b, confidence),
        "flips": [
            {
                "pair_id": str(pair_ids[row]),
                "margin_a": float(margin_a[row]),
                "margin_b": float(margin_b[row]),
            }
            for row in furthest[:top]
        ],
    }


def bootstrap(
    differences: Array, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentile interval of the mean of paired differences (Efron 1979; Efron and Tibshirani 1993,
    section 13.3).

    A resample draws as many pairs as there are, with replacement. Credits differ by one of only
    five values (-1, -1/2, 0, 1/2, 1), so how often each value is drawn is a multinomial variable:
    the same distribution as drawing pairs, in memory and time that do not grow with their number.
    """
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(
        len(differences), counts / len(differences), size=resamples
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws @ values / len(differences), [tail, 1 - tail])
    return float(low), float(high)


def _log_loss_difference(
    margin_a: Array, margin_b: Array, confidence: float
) -> dict[str, float | None]:
    differences = np.logaddexp(0, -margin_b) - np.logaddexp(0, -margin_a)
    mean, degrees = float(differences.mean()), len(differences) - 1
    low = high = None
    if degrees:
        error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
        spread = float(stats.t.ppf((1 + confidence) / 2, degrees) * error)
        low, high = mean - spread, mean + spread
    return {
        "log_loss_difference": mean,
        "log_loss_difference_low": low,
        "log_loss_difference_high": high,
    }
