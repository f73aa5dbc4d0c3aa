"""What changed from one run to another: their scores, matched pair by pair."""

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

from reward.evaluation.clusters import effective_prompts, per_prompt
from reward.evaluation.metrics import credit, log_loss, mcnemar
from reward.evaluation.scores import Array, Score
from reward.harness.errors import InputError
from reward.tokens.records import numbered


def match(*runs: pa.Table, intersection: bool) -> tuple[Array, ...]:
    """Pair ids in rising order, the number of each pair's prompt, and each run's margins of these
    pairs; all of shape (pairs,).

    One run that says which prompts its pairs are of says it for all. Raises InputError where none
    does; for different validation sets, unless `intersection` asks for the pairs that are in all;
    and for sets that have none in common.
    """
    runs = tuple(run.sort_by(Score.PAIR_ID) for run in runs)
    ids = [run[Score.PAIR_ID].to_numpy().astype(str) for run in runs]
    margins = [
        run[Score.CHOSEN_SCORE].to_numpy() - run[Score.REJECTED_SCORE].to_numpy() for run in runs
    ]
    knows = next((n for n, run in enumerate(runs) if Score.PROMPT_ID in run.column_names), None)
    if knows is None:
        raise InputError(
            "the revisions do not say which pairs are of one prompt, as their scores were made "
            "before that was recorded: run `dvc repro` on one of them."
        )
    prompts = numbered(runs[knows][Score.PROMPT_ID])
    if all(np.array_equal(ids[0], others) for others in ids):
        return ids[0], prompts, *margins
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
    return (
        common,
        prompts[rows[knows]],
        *(margin[those] for margin, those in zip(margins, rows, strict=True)),
    )


def compare(
    pair_ids: Array,
    prompt: Array,
    margin_a: Array,
    margin_b: Array,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    top: int,
) -> dict[str, Any]:
    """What changed from A to B, for matched arrays of shape (pairs,); differences are B - A.

    The pairs of a prompt are one draw; prompt: which one each is of. The accuracy difference comes
    with its paired bootstrap interval, the log loss difference with its paired t interval (Student
    1908; None for a single prompt), both of the prompts' values
    (reward.evaluation.clusters.per_prompt). `better`, `worse` and `mcnemar_p` are those of
    `reward.evaluation.metrics.mcnemar`. `agreement` is the share of pairs that both
    order alike, a tie being an order of its own. A pair flipped if its order changed; `flips` holds
    the `top` ones whose margins moved furthest.
    """
    right_a, right_b = credit(margin_a), credit(margin_b)
    better, worse, p = mcnemar(right_a, right_b, prompt)
    low, high = bootstrap(per_prompt(right_b - right_a, prompt), confidence, resamples, seed)
    flipped = np.flatnonzero(right_a != right_b)
    furthest = flipped[np.argsort(-np.abs(margin_b - margin_a)[flipped], kind="stable")]
    return {
        "pairs": len(pair_ids),
        "prompts": len(np.unique(prompt)),
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
        **_log_loss_difference(margin_a, margin_b, prompt, confidence),
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

    A resample draws as many as there are, with replacement. Credits differ by one of only five
    values (-1, -1/2, 0, 1/2, 1), and the balances of prompts by few more, so how often each value
    is drawn is a multinomial variable: the same distribution as drawing one by one, in memory and
    time that do not grow with their number.
    """
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(
        len(differences), counts / len(differences), size=resamples
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws @ values / len(differences), [tail, 1 - tail])
    return float(low), float(high)


def _log_loss_difference(
    margin_a: Array, margin_b: Array, prompt: Array, confidence: float
) -> dict[str, float | None]:
    by_pair = np.logaddexp(0, -margin_b) - np.logaddexp(0, -margin_a)
    mean, differences = float(by_pair.mean()), per_prompt(by_pair, prompt)
    low = high = None
    if len(differences) > 1:
        degrees = effective_prompts(prompt) - 1
        error = float(differences.std(ddof=1)) / np.sqrt(len(differences))
        spread = float(stats.t.ppf((1 + confidence) / 2, degrees) * error)
        low, high = mean - spread, mean + spread
    return {
        "log_loss_difference": mean,
        "log_loss_difference_low": low,
        "log_loss_difference_high": high,
    }
