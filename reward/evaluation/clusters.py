"""Pairs of one prompt taken for one draw: how much a share or a mean of pairs really tells.

Pairs of a prompt share its difficulty, and often an answer, so they tend to be right and wrong
together and tell less than as many pairs of different prompts. So what was drawn are prompts, each
with all its pairs: a sample of clusters, as survey statistics calls it. Where every prompt has one
pair, all figures are exactly those of independent pairs.

Throughout, `prompt` says which prompt each pair is of: whole numbers, (pairs,).
"""

import numpy as np
from scipy import stats

from reward.evaluation.resampling import by_prompt
from reward.evaluation.scores import Array


def per_prompt(values: Array, prompt: Array) -> Array:
    """A value for each prompt, (..., prompts), out of one for each pair, (..., pairs).

    Their mean is that of the pairs, m, and what is taken of them as of independent values (a
    standard error, a bootstrap of the mean) then holds for the mean of pairs whose prompts were
    drawn. A prompt's value is m + (sum over its pairs of value - m) * prompts / pairs: the mean is
    a ratio of two sums over prompts, which is linearised (Cochran 1977, Sampling Techniques,
    section 6.3; Liang and Zeger 1986, Biometrika 73, p. 13-22, for the variance that follows).
    """
    numbers, sizes = np.unique(prompt, return_counts=True)
    if len(numbers) == len(prompt):
        return values
    mean = values.mean(axis=-1, keepdims=True)
    sums = by_prompt(values.reshape(-1, len(prompt)).T, prompt).T
    beyond = sums.reshape(*values.shape[:-1], len(numbers)) - mean * sizes
    return np.ascontiguousarray(mean + beyond * (len(numbers) / len(prompt)))


def effective_prompts(prompt: Array) -> float:
    """How many prompts of equal numbers of pairs would tell as much, (sum of n)^2 / sum of n^2 over
    the prompts' numbers of pairs n (Kish 1965, Survey Sampling, section 11.7): all of them where
    the numbers are equal, about one where a prompt has nearly all pairs.
    """
    _, sizes = np.unique(prompt, return_counts=True)
    return float(sizes.sum()) ** 2 / float((sizes.astype(float) ** 2).sum())


def effective_size(right: Array, prompt: Array, confidence: float) -> float:
    """How many independent pairs would tell as much about a share as these do, 1 to pairs.

    Intervals and tests for independent trials are then used with this size, as Korn and Graubard
    1998 (Survey Methodology 24, p. 193-201) do. With Wilson's interval this is among what Franco,
    Little, Louis and Slud 2019 (Journal of Survey Statistics and Methodology 7, p. 334-364)
    recommend.

    The size is pairs / design effect, which is the variance of the share by prompts (`per_prompt`)
    over that of independent pairs. Then it is multiplied by the square of Student's t quantile at
    `confidence` for pairs - 1 over the one for the prompts' degrees of freedom, as few prompts
    tell little of that variance. With prompts of very different sizes some of them decide alone, so
    the degrees of freedom, and the divisor of the variance, are those of `effective_prompts` (as
    Carter, Schnepel and Steigerwald 2017, Review of Economics and Statistics 99, p. 698-709, ask
    for). Three bounds:

    - The design effect is 1 at least. Pairs of a prompt are hardly ever less alike than those of
      different ones; an effect below 1 is nearly always the luck of few prompts, and it would
      narrow the interval by that luck.
    - Where all pairs are right, or all are wrong, or of one prompt, nothing shows how alike those
      of a prompt are. Then they are taken to be all alike: the size is `effective_prompts`.
    - For the same reason the quantiles alone bring no size below `effective_prompts`.

    right: credits (reward.evaluation.metrics.credit), (pairs,), at least one.
    """
    pairs, alike = len(right), effective_prompts(prompt)
    share = float(right.mean())
    if alike == pairs:
        return pairs
    if share in (0, 1) or alike == 1:
        return alike
    values = per_prompt(right, prompt)
    variance = float(values.var()) / len(values) * alike / (alike - 1)
    size = pairs / max(1.0, variance / (share * (1 - share) / (pairs - 1)))
    tail = (1 + confidence) / 2
    few = (stats.t.ppf(tail, pairs - 1) / stats.t.ppf(tail, alike - 1)) ** 2
    return max(1.0, size * float(few), min(size, alike))


def sign_flips(net: Array) -> float:
    """The two-sided p value of prompts' net gains, whole numbers, if each is as likely to be a loss
    of the same size.

    That is so if two models are equally good on every prompt, whatever the pairs of a prompt have
    in common: a randomisation test (Fisher 1935, The Design of Experiments, section 21) that flips
    whole prompts. Of the clustered forms of McNemar's test, Obuchowski's (1998, Statistics in
    Medicine 17, p. 1495-1507) is an approximation by the normal distribution with prompts' sums as
    here. This one is exact: the distribution of the sum is computed, size by size. Where no prompt
    gains or loses more than one, it is the binomial test. 1 where none gains or loses.
    """
    sizes, counts = np.unique(np.abs(net[net != 0]), return_counts=True)
    if len(sizes) == 0:
        return 1.0
    if len(sizes) == 1:
        return float(stats.binomtest(int((net > 0).sum()), int(counts[0])).pvalue)
    chance = np.ones(1)  # of each sum of gains, losses left out
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        gains = np.zeros(size * count + 1)
        gains[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chance = np.convolve(chance, gains)
    most = len(chance) - 1
    as_far = np.abs(2 * np.arange(most + 1) - most) >= abs(net.sum())
    return min(1.0, float(chance[as_far].sum()))
