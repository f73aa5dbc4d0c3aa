"""What a head alone would get after each of several depths, told by training pairs alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from reward.evaluation.metrics import credit, estimate
from reward.evaluation.scores import Array


def accuracy_by_depth(
    features: NDArray[np.float32],
    pairs: NDArray[np.int64],
    prompts: Array,
    *,
    depths: Sequence[int],
    folds: int,
    strength: float,
    confidence: float,
) -> list[dict[str, Any]]:
    """For each depth the share of held-out pairs that a linear head on its features gets right.

    Every pair is held out once, with all pairs of its prompt. A head is the logistic regression of
    Bradley-Terry: it minimises strength * (sum over pairs of softplus(-w . x)) + |w|^2 / 2, where x
    is what chosen has more of than rejected, in standard deviations of each feature over the
    training folds' pairs.

    features: (depths, answers, width). pairs: (pairs, 2), which answers are compared. prompts:
    whole numbers (pairs,), equal for the same prompt, of which there are at least `folds`.
    confidence: of the interval (reward.evaluation.metrics.estimate).
    """
    split = GroupKFold(folds)
    rows = []
    for depth, found in zip(depths, features, strict=True):
        x = found[pairs[:, 0]].astype(np.float64) - found[pairs[:, 1]]
        margins = np.empty(len(x))
        for learned, held_out in split.split(x, groups=prompts):
            margins[held_out] = _margins(x[learned], x[held_out], strength)
        rows.append({"depth": int(depth)} | estimate(credit(margins), prompts, confidence))
    return rows


def _margins(learned: Array, judged: Array, strength: float) -> Array:
    scale = np.sqrt((learned**2).mean(axis=0))
    scale[scale == 0] = 1
    x = learned / scale
    # scikit-learn wants to see both classes (reward.evaluation.bag_of_words says more).
    model = LogisticRegression(C=strength / 2, fit_intercept=False, max_iter=1000)
    with threadpool_limits(1):
        model.fit(np.concatenate([x, -x]), np.repeat([1, 0], len(x)))
    return (judged / scale) @ model.coef_[0]
