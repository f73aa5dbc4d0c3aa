"""Intervals by resampling whole prompts, since the answers to one prompt are not independent."""

from dataclasses import dataclass

import numpy as np

from reward.evaluation.scores import Array

LEAST_PROMPTS = 10
"""With fewer prompts nothing is measured: resampling so few gives intervals that are too narrow."""


@dataclass(frozen=True)
class Bootstrap:
    """The cluster bootstrap: whole prompts are drawn with replacement, as many as there are
    (Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8).
    """

    confidence: float
    """Level of the intervals, between 0 and 1."""
    resamples: int
    seed: int

    def sums(self, per_prompt: Array) -> Array:
        """The sum over the prompts of each resample, (resamples, ...), of (prompts, ...)."""
        draws = np.random.default_rng(self.seed)
        prompts = len(per_prompt)
        flat = per_prompt.reshape(prompts, -1)
        counts = (
            np.bincount(draws.integers(0, prompts, prompts), minlength=prompts)
            for _ in range(self.resamples)
        )
        drawn = np.stack([count @ flat for count in counts])
        return drawn.reshape(self.resamples, *per_prompt.shape[1:])

    def interval(self, values: Array) -> dict[str, float]:
        """The percentile interval of a figure of each resample, shape (resamples,)."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail])
        return {"low": float(low), "high": float(high)}

    def mean(self, values: Array, prompt: Array) -> dict[str, float]:
        """The mean of `values` with its interval; `prompt` says which prompt each belongs to."""
        totals = by_prompt(np.stack([values, np.ones(len(values))], axis=1), prompt)
        drawn = self.sums(totals)
        return {"mean": float(values.mean()), **self.interval(drawn[:, 0] / drawn[:, 1])}


def by_prompt(values: Array, prompt: Array) -> Array:
    """The sums over the rows of each prompt, (prompts, columns), of (rows, columns).

    prompt: for each row which prompt it belongs to, any whole numbers.
    """
    numbers, place = np.unique(prompt, return_inverse=True)
    totals = np.zeros((len(numbers), values.shape[1]))
    np.add.at(totals, place, values)
    return totals
