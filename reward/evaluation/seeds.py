"""Does a setting explain the difference between two groups of runs, or the luck of their seeds?

Two groups of runs, each with a seed of its own, are measured on the same pairs. Their difference
varies with the prompts that happen to be held out and with the seeds that happen to be taken, so
both are drawn again. Everything here is a pure function of arrays of shape (runs, pairs): what one
run got on one pair, for example its credit.
"""

import math
from typing import Any

import numpy as np
from scipy import stats

from reward.evaluation.clusters import per_prompt
from reward.evaluation.scores import Array

DRAWN_AT_ONCE = 10_000_000  # numbers, so that memory does not grow with the pairs


def difference(
    a: Array, b: Array, prompt: Array, *, confidence: float, resamples: int, seed: int
) -> dict[str, float]:
    """Mean of B - mean of A, its interval, and whose luck is in it.

    a, b: (runs, pairs), at least two runs each, the same pairs in both. prompt: (pairs,), which
    prompt each pair is of; at least two. Seeds of A and B are taken for unrelated: where both have
    the same ones and these make runs alike, the interval is wider than it need be.

    The pairs of a prompt are one draw, so all below is of the prompts' values in each run
    (reward.evaluation.clusters.per_prompt); "pairs" stands for these where a prompt has several.

    `spread_a` and `spread_b` are the standard deviations of the runs' means (divided by runs - 1).
    `seed_share` is the part of the difference's variance that is due to the seeds, beyond what the
    pairs would let such runs differ; the rest is due to the pairs.

    A resample draws as many seeds of A, seeds of B and pairs as there are, with replacement (two
    crossed factors that are drawn independently: Owen 2007, Annals of Applied Statistics 1, p.
    386-411, arXiv 0712.1111). Three corrections follow. What seeds and pairs give together is drawn
    with the pairs alone, else it would count three times. A resample of k runs varies too little by
    k / (k - 1), so its deviation is stretched by the root of that (Rao and Wu 1988, Journal of the
    American Statistical Association 83, p. 231-241). And as few seeds tell little of how much seeds
    vary, the interval is wider by the quantile of Student's t over the normal one, with the degrees
    of freedom of Satterthwaite 1946, Biometrics Bulletin 2, p. 110-114. With the first two, the
    resamples have the variance of `components`.
    """
    a, b = per_prompt(a, prompt), per_prompt(b, prompt)
    by_pair = b.mean(axis=0) - a.mean(axis=0)
    of_pairs, of_a, of_b, degrees = components(a, b)
    total = of_pairs + of_a + of_b
    random = np.random.default_rng(seed)
    drawn = _resampled_means(by_pair, resamples, random) - by_pair.mean()
    drawn = drawn + _seed_deviations(b.mean(axis=1), of_b, resamples, random)
    drawn = drawn - _seed_deviations(a.mean(axis=1), of_a, resamples, random)
    tail = (1 - confidence) / 2
    wider = stats.t.ppf(1 - tail, degrees) / stats.norm.ppf(1 - tail)
    low, high = by_pair.mean() + wider * np.quantile(drawn, [tail, 1 - tail])
    return {
        "a": float(a.mean()),
        "b": float(b.mean()),
        "spread_a": float(a.mean(axis=1).std(ddof=1)),
        "spread_b": float(b.mean(axis=1).std(ddof=1)),
        "difference": float(by_pair.mean()),
        "difference_low": float(low),
        "difference_high": float(high),
        "seed_share": (of_a + of_b) / total if total else 0.0,
    }


def components(a: Array, b: Array) -> tuple[float, float, float, float]:
    """The variance of mean of B - mean of A that is due to the pairs, to A's and to B's seeds; and
    the degrees of freedom of their sum.

    A value is a mean + what its seed adds + what its pair adds + noise. The differences of the
    pairs' means show what pairs and noise do, the spread of the runs' means what seeds and noise
    do; so the noise, known from the analysis of variance without replication (Scheffé 1959, The
    Analysis of Variance, chapter 4), is taken off the latter, down to zero at most.

    The degrees of freedom (Satterthwaite 1946) are those of the components before that, and by
    their definition no fewer than those of the component that has fewest.
    """
    pairs = a.shape[1]
    of_pairs = float((b.mean(axis=0) - a.mean(axis=0)).var(ddof=1)) / pairs
    squares, own = of_pairs**2 / (pairs - 1), []
    for values in (a, b):
        runs = len(values)
        of_means = float(values.mean(axis=1).var(ddof=1)) / runs
        rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        noise = float((rest**2).sum()) / ((runs - 1) * (pairs - 1)) / (runs * pairs)
        own.append(max(of_means - noise, 0.0))
        squares += of_means**2 / (runs - 1)
    total = of_pairs + sum(own)
    # No fewer than the component that has fewest, whatever was taken off as noise.
    least = min(len(a), len(b), pairs) - 1
    return of_pairs, own[0], own[1], max(least, total**2 / squares) if squares else math.inf


def _resampled_means(values: Array, resamples: int, random: np.random.Generator) -> Array:
    """Means of as many values as there are, drawn with replacement, shape (resamples,)."""
    distinct, counts = np.unique(values, return_counts=True)
    at_once = max(1, DRAWN_AT_ONCE // len(distinct))
    means = [
        random.multinomial(len(values), counts / len(values), size=min(at_once, resamples - start))
        @ distinct
        / len(values)
        for start in range(0, resamples, at_once)
    ]
    return np.concatenate(means)


def _seed_deviations(
    means: Array, variance: float, resamples: int, random: np.random.Generator
) -> Array:
    """What drawing the runs again adds to their mean, stretched to a variance; (resamples,)."""
    runs = len(means)
    of_resample = float(means.var()) / runs
    if not of_resample:
        return np.zeros(resamples)
    drawn = random.multinomial(runs, np.full(runs, 1 / runs), size=resamples) @ means / runs
    return (drawn - means.mean()) * math.sqrt(variance / of_resample)


def verdict(found: dict[str, Any]) -> str:
    """Whether luck may explain what `difference` found, as a sentence without its full stop."""
    seeds, pairs = found["seed_share"], 1 - found["seed_share"]
    if found["difference_low"] <= 0 <= found["difference_high"]:
        return (
            f"luck may explain the difference: that of the seeds ({seeds:.0%} of its variance) or "
            f"of the pairs ({pairs:.0%})"
        )
    return (
        f"the setting explains the difference: luck of the seeds ({seeds:.0%} of its variance) and "
        f"of the pairs ({pairs:.0%}) is too small for it"
    )
