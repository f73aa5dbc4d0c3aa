"""reward/training/objective.py: how much each pair weighs."""

import numpy as np
import pytest
import torch

from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.training.losses import bradley_terry
from reward.training.objective import Objective, Weighting


@pytest.mark.parametrize(
    ("weighting", "weights"), [("pairs", [1, 1, 1, 1]), ("prompts", [1, 1, 1, 3])]
)
def test_a_prompt_weighs_the_same_in_however_many_groups_its_pairs_are(
    weighting: Weighting, weights: list[int]
) -> None:
    """Three pairs of one prompt, two of them in one group, and one of another prompt."""
    answers = [np.array([place]) for place in range(3)]
    groups = [Group(tuple(answers[:count]), 0) for count in (3, 2, 2)]
    pairs = np.array([[0, 0, 1], [0, 1, 2], [1, 0, 1], [2, 1, 0]])
    objective = Objective(
        Comparisons(groups, pairs, np.array([0, 0, 0, 1])),
        np.full(4, np.nan, np.float32),
        bradley_terry,
        centring_factor=0.0,
        weighting=weighting,
    )
    rewards = torch.tensor([0.5, 0.0, 2.0, 1.0, 4.0, 0.0, 3.0], dtype=torch.float64)
    # Margins: 0.5, -2 | -3 | 3; the loss is ln(1 + exp(-margin)).
    losses = np.log1p(np.exp([-0.5, 2, 3, -3]))
    loss, _ = objective(rewards, [0, 1, 2])
    expected = float(losses @ weights / sum(weights))
    assert float(loss) / objective.weight([0, 1, 2]) == pytest.approx(expected, rel=1e-12)
