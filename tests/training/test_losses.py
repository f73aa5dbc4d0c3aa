"""reward/training/losses.py against values computed by hand."""

import math

import numpy as np
import pytest
import torch

from reward.harness.errors import InputError
from reward.training.losses import LOSSES, bradley_terry, centring, check_gaps, margin, scaled

ONE = torch.tensor([1.0])


def test_gaps_that_a_loss_cannot_use_are_refused() -> None:
    check_gaps("bradley-terry", np.array([np.nan, -1, 1]))
    check_gaps("margin", np.array([-1.0, 1]))
    with pytest.raises(InputError, match=r"train.loss=margin needs two ratings .* 1 training"):
        check_gaps("margin", np.array([np.nan, 1]))
    with pytest.raises(InputError, match="rating_contradicts_order to drop"):
        check_gaps("scaled", np.array([-1.0, 1]))


def test_bradley_terry_by_hand() -> None:
    # -ln(1 / (1 + e^-2)) = ln(1 + e^-2) = 0.126928...
    loss = bradley_terry(torch.tensor([3.0]), ONE, gap=torch.tensor([9.0]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)
    assert loss.item() == pytest.approx(0.126928, abs=1e-6)


def test_margin_by_hand() -> None:
    # The difference of 2 is lowered by the gap of 1.5: ln(1 + e^-0.5) = 0.474077.
    loss = margin(torch.tensor([3.0]), ONE, gap=torch.tensor([1.5]))
    assert loss.item() == pytest.approx(0.474077, abs=1e-6)


def test_scaled_by_hand() -> None:
    # The gap of 1.5 multiplies ln(1 + e^-2): 0.190392.
    loss = scaled(torch.tensor([3.0]), ONE, gap=torch.tensor([1.5]))
    assert loss.item() == pytest.approx(0.190392, abs=1e-6)


def test_centring_by_hand() -> None:
    assert centring(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0])).tolist() == [16.0, 0.0]


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_pushes_the_sides_apart(name: str) -> None:
    chosen = torch.zeros(1, requires_grad=True)
    rejected = torch.zeros(1, requires_grad=True)
    LOSSES[name](chosen, rejected, torch.tensor([0.8])).sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() < 0
    assert rejected.grad.item() == pytest.approx(-chosen.grad.item())


@pytest.mark.parametrize("name", LOSSES)
def test_far_apart_stays_finite(name: str) -> None:
    losses = LOSSES[name](torch.tensor([-1e4, 1e4]), torch.tensor([1e4, -1e4]), torch.ones(2))
    assert torch.isfinite(losses).all()
    assert losses[0].item() == pytest.approx(2e4, rel=1e-3)
    assert losses[1].item() == 0
