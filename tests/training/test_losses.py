"""reward/training/losses.py against values computed by hand."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from reward.harness.errors import InputError
from reward.training.losses import (
    LOSSES,
    Pairs,
    bradley_terry,
    centring,
    check_gaps,
    margin,
    plackett_luce,
    scaled,
    soft,
)

REWARDS = torch.tensor([3.0, 1.0])


def pair(gap: float) -> Pairs:
    return Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([gap]))


def ranking(*groups: list[int]) -> Pairs:
    """All pairs of answers that stand in the order of their quality, best first."""
    pairs = [pair for group in groups for pair in combinations(group, 2)]
    chosen, rejected = torch.tensor(pairs).T
    return Pairs(chosen, rejected, torch.full((len(pairs),), torch.nan))


def test_gaps_that_a_loss_cannot_use_are_refused() -> None:
    check_gaps("bradley-terry", np.array([np.nan, -1, 1]))
    check_gaps("plackett-luce", np.array([np.nan, -1, 1]))
    check_gaps("margin", np.array([-1.0, 1]))
    check_gaps("soft", np.array([-1.0, 0, 1]))
    with pytest.raises(InputError, match=r"train.loss=margin needs two ratings .* 1 training"):
        check_gaps("margin", np.array([np.nan, 1]))
    with pytest.raises(InputError, match=r"train.loss=soft needs two ratings .* 1 training"):
        check_gaps("soft", np.array([np.nan, 1]))
    with pytest.raises(InputError, match="rating_contradicts_order to drop"):
        check_gaps("scaled", np.array([-1.0, 1]))
    with pytest.raises(InputError, match=r"train.loss=soft .* 2 training pairs .* more than 1"):
        check_gaps("soft", np.array([-1.5, 1, 2]))


def test_bradley_terry_by_hand() -> None:
    # -ln(1 / (1 + e^-2)) = ln(1 + e^-2) = 0.126928...
    loss = bradley_terry(REWARDS, pair(9.0))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


def test_margin_by_hand() -> None:
    # The difference of 2 is lowered by the gap of 1.5: ln(1 + e^-0.5) = 0.474077.
    assert margin(REWARDS, pair(1.5)).item() == pytest.approx(0.474077, abs=1e-6)


def test_scaled_by_hand() -> None:
    # The gap of 1.5 multiplies ln(1 + e^-2): 0.190392.
    assert scaled(REWARDS, pair(1.5)).item() == pytest.approx(0.190392, abs=1e-6)


def test_soft_labels_by_hand() -> None:
    # Shares of 0.75 and 0.25, gap 0.5: 0.75 ln(1 + e^-2) + 0.25 ln(1 + e^2)
    # = 0.75 x 0.126928 + 0.25 x 2.126928 = 0.626928.
    assert soft(REWARDS, pair(0.5)).item() == pytest.approx(0.626928, abs=1e-6)


def test_a_tie_pulls_both_rewards_together() -> None:
    # p = 1/2: (0.126928 + 2.126928) / 2 = 1.126928, with slope (sigmoid(2) - 1/2) = 0.380797.
    rewards = REWARDS.clone().requires_grad_()
    loss = soft(rewards, pair(0.0))
    assert loss.item() == pytest.approx(1.126928, abs=1e-6)
    loss.sum().backward()
    assert rewards.grad is not None
    assert rewards.grad.tolist() == pytest.approx([0.380797, -0.380797], abs=1e-6)
    same = torch.tensor([2.0, 2.0], requires_grad=True)
    soft(same, pair(0.0)).sum().backward()
    assert same.grad is not None
    assert same.grad.tolist() == [0, 0]


def test_a_share_of_one_is_a_plain_pair_and_its_complement_the_other_way() -> None:
    assert soft(REWARDS, pair(1.0)).item() == pytest.approx(0.126928, abs=1e-6)
    assert soft(REWARDS, pair(-1.0)).item() == pytest.approx(2.126928, abs=1e-6)


def test_plackett_luce_by_hand() -> None:
    # Rewards ln 4, ln 3, ln 1: the first of all is chosen with 4/8, the second of the rest with
    # 3/4. -ln(4/8 x 3/4) = ln(8/3) = 0.980829.
    rewards = torch.tensor([4.0, 3.0, 1.0]).log()
    losses = plackett_luce(rewards, ranking([0, 1, 2]))
    assert losses.sum().item() == pytest.approx(math.log(8 / 3), rel=1e-6)
    # ln 2 for the first's two pairs, ln 4/3 for the one of the second.
    half = math.log(2) / 2
    assert losses.tolist() == pytest.approx([half, half, math.log(4 / 3)], rel=1e-6)


def test_plackett_luce_is_the_likelihood_of_a_ranking() -> None:
    """The probabilities of all rankings of four answers add up to one."""
    rewards = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64)
    total = sum(
        math.exp(-plackett_luce(rewards, ranking(list(order))).sum().item())
        for order in permutations(range(4))
    )
    assert total == pytest.approx(1, abs=1e-12)


def test_plackett_luce_keeps_prompts_apart_and_is_bradley_terry_for_two() -> None:
    rewards = torch.tensor([0.5, 0.1, -2.0, 1.0, 3.0])
    together = plackett_luce(rewards, ranking([0, 1, 2], [4, 3]))
    alone = plackett_luce(rewards[:3], ranking([0, 1, 2]))
    assert together[:3].tolist() == pytest.approx(alone.tolist())
    assert together[3].item() == pytest.approx(bradley_terry(rewards, ranking([4, 3])).item())


def test_tied_answers_stand_in_no_common_term() -> None:
    # Answers 0 and 1 tie and are better than 2: each against it alone, ln(5/4) + ln(4/3).
    rewards = torch.tensor([4.0, 3.0, 1.0]).log()
    pairs = Pairs(torch.tensor([0, 1]), torch.tensor([2, 2]), torch.zeros(2))
    expected = [math.log(5 / 4), math.log(4 / 3)]
    assert plackett_luce(rewards, pairs).tolist() == pytest.approx(expected, rel=1e-6)


def test_centring_by_hand() -> None:
    rewards = torch.tensor([3.0, 1.0, 1.0, -1.0])
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.zeros(2))
    assert centring(rewards, pairs).tolist() == [16.0, 0.0]


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_pushes_the_sides_apart(name: str) -> None:
    rewards = torch.zeros(2, requires_grad=True)
    LOSSES[name](rewards, pair(0.8)).sum().backward()
    assert rewards.grad is not None
    chosen, rejected = rewards.grad.tolist()
    assert chosen < 0
    assert rejected == pytest.approx(-chosen)


@pytest.mark.parametrize("name", LOSSES)
def test_far_apart_stays_finite(name: str) -> None:
    rewards = torch.tensor([-1e4, 1e4, 1e4, -1e4])
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.ones(2))
    losses = LOSSES[name](rewards, pairs)
    assert torch.isfinite(losses).all()
    assert losses[0].item() == pytest.approx(2e4, rel=1e-3)
    assert losses[1].item() == 0
