"""What length and format add to the reward of answers that are rated alike."""

from typing import Any

import numpy as np

from reward.evaluation import markdown
from reward.evaluation.answers import Answers
from reward.evaluation.resampling import LEAST_PROMPTS, Bootstrap, by_prompt
from reward.evaluation.scores import Array

LENGTH = "length doubled"


def style(answers: Answers, spread: float, bootstrap: Bootstrap) -> dict[str, Any]:
    """What each trait of an answer adds to its reward, all others and the rating held fixed.

    A least-squares regression of the reward, in units of `spread`, on the rating, log2 of the
    length in tokens, and one indicator for each of markdown.NAMES, with an intercept for each
    prompt: the within estimator (Wooldridge 2010, Econometric Analysis of Cross Section and Panel
    Data, section 10.5), that is, all are taken relative to their mean over the prompt's answers.
    Where an answer has no rating, the share of its pairs in which it was chosen stands for the
    ratings of all. Ratings are noisy, so some of what is good in a long answer counts as length.

    Returns the control ("rating" or "choice"), and effects: for the control (one point more) and
    each trait its name, the number of prompts whose answers differ in it, and effect with its
    interval. A trait in which fewer than LEAST_PROMPTS prompts differ is left out. Of traits that
    always come together, each gets an equal part.
    """
    control = "choice" if np.isnan(answers.rating).any() else "rating"
    traits = {
        control: answers.rating if control == "rating" else answers.chosen,
        LENGTH: np.log2(np.maximum(answers.tokens, 1)),
        **dict(zip(markdown.NAMES, answers.formats.T.astype(float), strict=True)),
    }
    within = {name: _within(values, answers.prompt) for name, values in traits.items()}
    prompts = {
        name: len(np.unique(answers.prompt[np.abs(values) > 1e-9]))
        for name, values in within.items()
    }
    names = [name for name in traits if prompts[name] >= LEAST_PROMPTS]
    if not names:
        return {"control": control, "effects": []}
    x = np.stack([within[name] for name in names], axis=1)
    y = _within(answers.reward / spread, answers.prompt)
    products = x[:, :, None] * np.concatenate([x, y[:, None]], axis=1)[:, None, :]
    moments = by_prompt(products.reshape(len(x), -1), answers.prompt)
    moments = moments.reshape(-1, len(names), len(names) + 1)
    effects = _solve(moments.sum(axis=0))
    drawn = _solve(bootstrap.sums(moments))
    return {
        "control": control,
        "effects": [
            {
                "name": name,
                "prompts": prompts[name],
                "effect": {"mean": float(effect)} | bootstrap.interval(values),
            }
            for name, effect, values in zip(names, effects, drawn.T, strict=True)
        ],
    }


def _within(values: Array, prompt: Array) -> Array:
    """Values less the mean of their prompt's."""
    _, place = np.unique(prompt, return_inverse=True)
    return values - (np.bincount(place, weights=values) / np.bincount(place))[place]


def _solve(moments: Array) -> Array:
    """The coefficients, (..., k), of the sums X'X and X'y side by side, (..., k, k + 1)."""
    inverse = np.linalg.pinv(moments[..., :-1], rcond=1e-9, hermitian=True)
    return (inverse @ moments[..., -1:])[..., 0]
