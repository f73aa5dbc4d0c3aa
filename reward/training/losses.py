"""Losses of pairs, in the format of the rewards, which is float32 at least.

A loss takes the rewards of all answers of some groups, (answers,), and the pairs among them, and
gives one value per pair, (pairs,). Their sum is what the groups cost.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reward.harness.errors import InputError


class Pairs(NamedTuple):
    """The pairs among some answers; each field has the shape (pairs,)."""

    chosen: Tensor  # int64, the place of the answer among the rewards
    rejected: Tensor
    gap: Tensor  # rating of chosen minus rating of rejected; NaN where there are none

    def margins(self, rewards: Tensor) -> Tensor:
        """Chosen reward minus rejected reward."""
        return rewards[self.chosen] - rewards[self.rejected]


def bradley_terry(rewards: Tensor, pairs: Pairs) -> Tensor:
    """-log sigmoid(chosen - rejected); the gap is not used.

    Bradley and Terry (1952); as a loss for reward models, Ouyang et al. 2022 (arXiv 2203.02155),
    eq. 1.
    """
    return -logsigmoid(pairs.margins(rewards))


def margin(rewards: Tensor, pairs: Pairs) -> Tensor:
    """-log sigmoid(chosen - rejected - gap): clearer preferences must be further apart.

    Touvron et al. 2023 (Llama 2, arXiv 2307.09288), eq. 2, with the rating gap as m(r).
    """
    return -logsigmoid(pairs.margins(rewards) - pairs.gap)


def scaled(rewards: Tensor, pairs: Pairs) -> Tensor:
    """-gap * log sigmoid(chosen - rejected): clearer preferences count for more.

    Wang et al. 2024 (HelpSteer2-Preference, arXiv 2410.01257), scaled Bradley-Terry.
    """
    return -pairs.gap * logsigmoid(pairs.margins(rewards))


def soft(rewards: Tensor, pairs: Pairs) -> Tensor:
    """-p log sigmoid(chosen - rejected) - (1 - p) log sigmoid(rejected - chosen), where the share
    p = (1 + gap) / 2 prefers chosen; a tie has p = 1/2, a gap of 1 is a plain pair.

    The ratings are the shares that prefer each side, so that their gap is 2 p - 1. Christiano et
    al. 2017 (arXiv 1706.03741), eq. 1, whose distribution over the two is uniform for a tie.
    """
    margins, share = pairs.margins(rewards), (1 + pairs.gap) / 2
    return -share * logsigmoid(margins) - (1 - share) * logsigmoid(-margins)


def plackett_luce(rewards: Tensor, pairs: Pairs) -> Tensor:
    """How unlikely it is that each answer is the best of itself and all that it is preferred to:

        sum over answers i of -log(exp(r_i) / (exp(r_i) + sum over j worse than i of exp(r_j)))

    Where all answers of a prompt are ranked, this is the negative log likelihood of the ranking
    (Plackett 1975, "The analysis of permutations"; Luce 1959; for reward models Zhu et al. 2023,
    arXiv 2301.11270). Answers that tie are not compared and stand in no common term; for two
    answers it is bradley_terry. Each answer's term is spread evenly over its pairs as chosen.
    """
    worse = torch.zeros(len(rewards), len(rewards), dtype=torch.bool, device=rewards.device)
    worse[pairs.chosen, pairs.rejected] = True
    others = rewards.expand(worse.shape).masked_fill(~worse, -torch.inf)
    terms = torch.cat([rewards[:, None], others], dim=1).logsumexp(dim=1) - rewards
    shares = torch.bincount(pairs.chosen, minlength=len(rewards))
    return (terms / shares.clamp(min=1))[pairs.chosen]


def centring(rewards: Tensor, pairs: Pairs) -> Tensor:
    """(chosen + rejected)^2, which keeps rewards around zero; added to a loss with a small factor.

    Eisenstein et al. 2023 (arXiv 2312.09244), eq. 2.
    """
    return torch.square(rewards[pairs.chosen] + rewards[pairs.rejected])


LOSSES: dict[str, Callable[[Tensor, Pairs], Tensor]] = {
    "bradley-terry": bradley_terry,
    "margin": margin,
    "scaled": scaled,
    "soft": soft,
    "plackett-luce": plackett_luce,
}
RATED = frozenset({"margin", "scaled", "soft"})  # the losses that use the gap


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
    if loss == "soft" and (np.abs(gaps) > 1).any():
        raise InputError(
            f"train.loss=soft takes the two ratings for the shares that prefer each side, and "
            f"{int((np.abs(gaps) > 1).sum())} training pairs have ratings more than 1 apart: give "
            f"such shares, between 0 and 1, as ratings or choose another loss."
        )
