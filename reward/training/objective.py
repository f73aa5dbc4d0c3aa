"""What training minimises: the losses of the pairs among some groups, each with its weight."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from reward.scoring.comparisons import Comparisons
from reward.training.losses import Pairs, centring
from reward.training.settings import Weighting


class Objective:
    """The loss of training pairs.

    compared: the training pairs. gaps: their rating gaps, float32 (pairs,). loss: one of
    reward.training.losses. centring_factor: of its function `centring`. weighting: whether each of
    the pairs or each of the prompts weighs the same; a prompt's weight is shared by its pairs.
    """

    def __init__(
        self,
        compared: Comparisons,
        gaps: np.ndarray,
        loss: Callable[[Tensor, Pairs], Tensor],
        *,
        centring_factor: float,
        weighting: Weighting,
    ):
        self.compared, self.gaps = compared, gaps
        self.loss, self.centring_factor = loss, centring_factor
        sizes = np.bincount(compared.prompts)[compared.prompts]
        alike = np.ones(len(sizes))
        self._weights = 1 / sizes if weighting == "prompts" else alike  # float64 (pairs,)

    def weight(self, groups: Sequence[int]) -> float:
        """That of all pairs of some groups, which are named by their places in `compared`."""
        return float(self._weights[self.compared.among(groups)[0]].sum())

    def __call__(self, rewards: Tensor, groups: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The weighted sum of the losses of some groups' pairs; and, as numbers of shape (4,), the
        weighted sums of their losses, hits, margins and both rewards.

        rewards: those of all answers of these groups, in order.
        """
        places, sides = self.compared.among(groups)
        chosen, rejected = torch.from_numpy(sides.T).to(rewards.device)
        gaps = torch.from_numpy(self.gaps[places]).to(rewards)
        weights = torch.from_numpy(self._weights[places]).to(rewards)
        pairs = Pairs(chosen, rejected, gaps)
        losses = self.loss(rewards, pairs)
        if self.centring_factor:
            losses = losses + self.centring_factor * centring(rewards, pairs)
        loss = (losses * weights).sum()
        with torch.no_grad():
            margins = pairs.margins(rewards)
            hits = (margins > 0) + (margins == 0) / 2
            both = rewards[chosen] + rewards[rejected]
            sums = [loss, *((values * weights).sum() for values in (hits, margins, both))]
            return loss, torch.stack(sums)
