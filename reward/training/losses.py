"""Losses of a pair, in float32. Every argument and result has the shape (pairs,).

chosen, rejected: the rewards of the two sides. gap: rating of chosen minus rating of rejected.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reward.harness.errors import InputError


def bradley_terry(chosen: Tensor, rejected: Tensor, gap: Tensor) -> Tensor:
    """-log sigmoid(chosen - rejected); the gap is not used.

    Bradley and Terry (1952); as a loss for reward models, Ouyang et al. 2022 (arXiv 2203.02155),
    eq. 1.
    """
    return -logsigmoid(chosen - rejected)


def margin(chosen: Tensor, rejected: Tensor, gap: Tensor) -> Tensor:
    """-log sigmoid(chosen - rejected - gap): clearer preferences must be further apart.

    Touvron et al. 2023 (Llama 2, arXiv 2307.09288), eq. 2, with the rating gap as m(r).
    """
    return -logsigmoid(chosen - rejected - gap)


def scaled(chosen: Tensor, rejected: Tensor, gap: Tensor) -> Tensor:
    """-gap * log sigmoid(chosen - rejected): clearer preferences count for more.

    Wang et al. 2024 (HelpSteer2-Preference, arXiv 2410.01257), scaled Bradley-Terry.
    """
    return -gap * logsigmoid(chosen - rejected)


def centring(chosen: Tensor, rejected: Tensor) -> Tensor:
    """(chosen + rejected)^2, which keeps rewards around zero; added to a loss with a small factor.

    Eisenstein et al. 2023 (arXiv 2312.09244), eq. 2.
    """
    return torch.square(chosen + rejected)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "bradley-terry": bradley_terry,
    "margin": margin,
    "scaled": scaled,
}
RATED = frozenset({"margin", "scaled"})  # the losses that use the gap


def check_gaps(loss: str, gaps: np.ndarray) -> None:
    """Raise InputError where a loss cannot use the rating gaps of a run, NaN for unrated pairs."""
    unrated = int(np.isnan(gaps).sum())
    if unrated and loss in RATED:
        raise InputError(
            f"train.loss={loss} needs two ratings for every pair, and {unrated} training "
            f"pairs have none: choose bradley-terry or a dataset with ratings."
        )
    if loss == "scaled" and (gaps < 0).any():
        raise InputError(
            "train.loss=scaled would reward mistakes where the rejected response is rated higher: "
            "set download.quality.rating_contradicts_order to drop."
        )
