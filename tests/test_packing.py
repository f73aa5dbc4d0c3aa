"""reward/packing.py: the laid-out row, and attention that is as if each answer stood alone."""

import itertools

import numpy as np
import pytest
import torch
from networks import PAD, SHARED, random_groups, random_network
from torch.nn.functional import scaled_dot_product_attention

from reward import packing
from reward.batching import Group
from reward.packing import Layout, scored_position
from reward.scoring import Scorer

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


@pytest.mark.parametrize("window", [None, 7])
def test_variable_length_kernel_gets_each_answer_alone(
    monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    """The CUDA path with torch's kernel replaced by one attention call per sequence.

    As the kernel does, the stand-in takes (tokens, heads, width) and a window that counts the
    tokens before the query's own.
    """

    def kernel(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        starts: torch.Tensor,
        _: torch.Tensor,
        longest: int,
        __: int,
        *,
        scale: float | None,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> torch.Tensor:
        assert enable_gqa
        assert longest == int(starts.diff().max())
        parts = []
        for start, end in itertools.pairwise(starts.tolist()):
            place = torch.arange(end - start)
            distance = place[:, None] - place
            seen = (distance >= 0) & ((distance <= window_size[0]) | (window_size[0] < 0))
            one, other, third = (x[start:end].transpose(0, 1) for x in (q, k, v))
            out = scaled_dot_product_attention(
                one, other, third, attn_mask=seen, scale=scale, enable_gqa=True
            )
            parts.append(out.transpose(0, 1))
        return torch.cat(parts)

    monkeypatch.setattr(packing, "varlen_attn", kernel)
    layout = Layout(random_groups((2, 1, 3)), PAD, CPU)
    torch.manual_seed(0)
    row = layout.input_ids.shape[1]
    query, key, value = (torch.randn(1, heads, row, 8) for heads in (4, 2, 2))
    with packing.laid_out(layout):
        expected, _ = packing.attention(
            torch.nn.Module(), query, key, value, None, scaling=0.3, sliding_window=window
        )
    found = packing._varlen(layout, query, key, value, 0.3, window)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("window", [None, 1, 7, 40])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("sizes", [(5, 9, 2, 30), (0, 4, 11), (20, 3, 3)])
def test_attention_in_blocks_is_each_answer_alone(
    monkeypatch: pytest.MonkeyPatch,
    window: int | None,
    softcap: float | None,
    sizes: tuple[int, ...],
) -> None:
    monkeypatch.setattr(packing, "BLOCK", 4)
    check_alone(sizes, window, softcap)


def test_long_answers_after_a_short_prefix_are_each_answer_alone() -> None:
    assert packing._whole_is_faster(20, 760)
    assert not packing._whole_is_faster(20, 700)
    check_alone((20, 3, 760, 150, 700), None, None)


def check_alone(sizes: tuple[int, ...], window: int | None, softcap: float | None) -> None:
    """sizes: the prefix's length, then each answer's own. The reference is written out here."""
    prefix, *owns = sizes
    head = np.arange(prefix) + 1
    tails = [np.arange(own) + 1000 * (n + 1) for n, own in enumerate(owns)]
    layout = Layout(
        [Group(tuple(np.concatenate([head, tail]) for tail in tails), prefix)], PAD, CPU
    )
    torch.manual_seed(0)
    row = sum(sizes)
    query, key, value = (torch.randn(1, heads, row, 8) for heads in (4, 2, 2))
    with packing.laid_out(layout):
        found, _ = packing.attention(
            torch.nn.Module(),
            query,
            key,
            value,
            None,
            scaling=0.3,
            sliding_window=window,
            softcap=softcap,
        )
    assert found.shape == (1, row, 4, 8)
    for own, end in zip(owns, np.cumsum(sizes)[1:], strict=True):
        place = torch.cat([torch.arange(prefix), torch.arange(end - own, end)])
        q = query[0][:, place]
        k, v = (part[0].repeat_interleave(2, dim=0)[:, place] for part in (key, value))
        weights = q @ k.mT * 0.3
        if softcap is not None:
            weights = softcap * torch.tanh(weights / softcap)
        distance = torch.arange(len(place))[:, None] - torch.arange(len(place))
        hidden = (distance < 0) | (distance >= (window or len(place)))
        expected = weights.masked_fill(hidden, -torch.inf).softmax(-1) @ v
        torch.testing.assert_close(found[0, place].transpose(0, 1), expected, rtol=1e-4, atol=1e-5)


def gradient(network: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
