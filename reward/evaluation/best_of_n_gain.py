"""What choosing by reward gains in rating: the best of n answers against a random one."""

from typing import Any

import numpy as np
from scipy import special

from reward.evaluation.answers import Answers
from reward.evaluation.resampling import LEAST_PROMPTS, Bootstrap
from reward.evaluation.scores import Array

SIZES = (1, 2, 4, 8)


def gain_by_n(answers: Answers, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """For each n of SIZES, as far as LEAST_PROMPTS prompts have n rated answers, a row:

    n; prompts, those with at least n rated answers; gain with low and high, the mean over them of
    what the answer with the highest reward among n is rated above a random one; possible, the same
    for the answer with the highest rating. Unit: the ratings'. Each n has prompts of its own, so
    the rows are one curve only where all prompts have as many answers.
    """
    rated = ~np.isnan(answers.rating)
    rating, reward, prompt = answers.rating[rated], answers.reward[rated], answers.prompt[rated]
    rows = []
    for n in SIZES:
        _, place, sizes = np.unique(prompt, return_inverse=True, return_counts=True)
        enough = sizes[place] >= n
        rating, reward, prompt = rating[enough], reward[enough], prompt[enough]
        prompts = len(np.unique(prompt))
        if prompts < LEAST_PROMPTS:
            break
        found = bootstrap.mean(gains(rating, reward, prompt, n), np.arange(prompts))
        possible = float(gains(rating, rating, prompt, n).mean())
        rows.append({"n": n, "prompts": prompts, "gain": found, "possible": possible})
    return rows


def gains(rating: Array, reward: Array, prompt: Array, n: int) -> Array:
    """For each prompt, in the order of their numbers, the expected rating of the answer with the
    highest reward among n, less the mean rating.

    rating, reward, prompt: (answers,); each prompt has at least n answers. The n are drawn without
    replacement from a prompt's m. Of the C(m, n) draws, C(j - 1, n - 1) have the answer of the j-th
    lowest reward as their highest: it, and n - 1 of the j - 1 below it. So the expectation is the
    sum over j of C(j - 1, n - 1) / C(m, n) * rating(j). Answers of equal reward share their weight.
    """
    order = np.lexsort((reward, prompt))
    rating, reward = rating[order], reward[order]
    _, place = np.unique(prompt[order], return_inverse=True)
    sizes = np.bincount(place)
    below = np.arange(len(place)) - (np.cumsum(sizes) - sizes)[place]
    weight = special.comb(below, n - 1) / special.comb(sizes[place], n)
    changes = (np.diff(place) != 0) | (np.diff(reward) != 0)
    tied = np.concatenate([[0], np.cumsum(changes)])
    shared = (np.bincount(tied, weights=weight) / np.bincount(tied))[tied]
    return np.bincount(place, weights=shared * rating) - np.bincount(place, rating) / sizes
