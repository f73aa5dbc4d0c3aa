"""reward/scoring/layout.py: the laid-out row, and rewards and gradients computed by it."""

import numpy as np
import pytest
import torch

from reward.scoring.groups import Group
from reward.scoring.layout import Layout, scored_position
from reward.scoring.scorer import Scorer
from tests.support.networks import PAD, SHARED, random_groups, random_network

CPU = torch.device("cpu")


def test_layout_written_out() -> None:
    # Prefix 5 6; answers 7 8 and 9; then a group of one answer 4 3.
    groups = [Group.of([np.array([5, 6, 7, 8]), np.array([5, 6, 9])]), Group.of([np.array([4, 3])])]
    layout = Layout(groups, PAD, CPU)
    assert layout.input_ids.tolist() == [[5, 6, 7, 8, 9, 4, 3]]
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert layout.ends.tolist() == layout.scored.tolist() == [3, 4, 6]
    assert layout.segments == [4, 1, 2]
    assert layout.groups == [(2, 2), (1, 0)]


def test_later_rows_of_a_group_begin_after_its_prefix() -> None:
    # 5 6 and what its one layer made of them are known: answers 7 and 8 9 are left.
    group = Group.of([np.array([5, 6, 7]), np.array([5, 6, 8, 9])])
    made = torch.ones(1, 1, 2, 3)
    layout = Layout([group], PAD, CPU, [(made, 2 * made)])
    assert layout.input_ids.tolist() == [[7, 8, 9]]
    assert layout.position_ids.tolist() == [[2, 2, 3]]
    assert layout.ends.tolist() == layout.scored.tolist() == [0, 2]
    assert layout.segments == [3, 2]
    key, value = layout.with_known(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3))
    assert key[0, 0, :, 0].tolist() == [1, 1, 0, 0, 0]
    assert value[0, 0, :, 0].tolist() == [2, 2, 0, 0, 0]


def test_padding_tokens_at_the_end_are_not_scored() -> None:
    # With pad == eos = 2, the answer's last token that is not eos is scored: 8 at 3, and for the
    # second side, whose own part is eos alone, 6 at 1, which stands in the shared prefix.
    group = Group.of([np.array([5, 6, 7, 8, 2]), np.array([5, 6, 2])])
    assert Layout([group], 2, CPU).ends.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("sequence", "pad", "position"),
    [
        ([5, 6, 7], 0, 2),
        ([5, 6, 0, 0], 0, 1),
        ([0, 0], 0, 0),
        ([5, 0, 6, 0], 0, 2),
        ([5, 0], None, 1),
    ],
)
def test_scored_position(sequence: list[int], pad: int | None, position: int) -> None:
    assert scored_position(np.array(sequence), pad) == position


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("eos_ends", [False, True])
def test_rewards_and_gradients_are_those_of_transformers(name: str, eos_ends: bool) -> None:
    network = random_network(SHARED[name])
    groups = random_groups((2, 2, 1, 4))
    if eos_ends:  # pad == eos, as in GPT-2 and DialoGPT
        network.config.pad_token_id = 2
        groups = [
            Group.of([np.append(sequence, [2, 2]) for sequence in group.sequences])
            for group in groups
        ]
    sequences = [torch.from_numpy(sequence) for group in groups for sequence in group.sequences]
    alone = torch.stack([network(sequence[None]).logits[0, 0] for sequence in sequences])
    weights = torch.linspace(-1, 1, len(alone))
    expected = gradient(network, (alone * weights).sum())

    scorer = Scorer(network)
    assert scorer.share_prefixes(groups)
    rewards = scorer(network, groups)
    torch.testing.assert_close(rewards, alone, rtol=1e-5, atol=1e-5)
    found = gradient(network, (rewards * weights).sum())
    assert (found - expected).norm() < 1e-5 * expected.norm()


def gradient(network: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
