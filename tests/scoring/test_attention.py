"""reward/scoring/attention.py: an answer's attention is what it would be if it stood alone."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from reward.scoring import attention
from reward.scoring.groups import Group
from reward.scoring.layout import Layout, PrefixCache, use_layout
from tests.support.networks import PAD, random_groups

CPU = torch.device("cpu")
Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("known", [False, True])
def test_variable_length_kernel_gets_each_answer_alone(
    monkeypatch: pytest.MonkeyPatch, window: int | None, known: bool
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

    groups = random_groups((4,) if known else (2, 1, 3))
    cache = [random_parts(groups[0].prefix)[1:]] if known else None
    row = sum(group.shared_tokens for group in groups) - (groups[0].prefix if known else 0)
    parts = random_parts(row)
    expected = attend(Layout(groups, PAD, CPU, cache), parts, window)
    monkeypatch.setattr(attention, "varlen_attn", kernel)
    monkeypatch.setattr(attention, "has_flash_kernel", lambda _: True)
    found = attend(Layout(groups, PAD, CPU, cache), parts, window)
    assert found.shape == (1, row, 4, 8)
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
    monkeypatch.setattr(attention, "BLOCK", 4)
    check_alone(sizes, window, softcap)


def test_long_answers_after_a_short_prefix_are_each_answer_alone() -> None:
    assert attention._whole_is_faster(20, 760)
    assert not attention._whole_is_faster(20, 700)
    check_alone((20, 3, 760, 150, 700), None, None)


@pytest.mark.parametrize("window", [None, 7, 40])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_group_in_several_rows_is_the_group_in_one(
    monkeypatch: pytest.MonkeyPatch, window: int | None, softcap: float | None
) -> None:
    """Two layers, which are one module: what is cached belongs to a layer, not to its module."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    group = group_of((20, 9, 2, 30, 5))
    layers = [random_parts(66, seed) for seed in (1, 2)]
    whole = Layout([group], PAD, CPU)
    expected = [attend(whole, parts, window, softcap) for parts in layers]
    cache: PrefixCache = []
    rows = (slice(0, 31), slice(31, 66))  # 20 + 9 + 2, then 30 + 5
    for sequences, row in zip((group.sequences[:2], group.sequences[2:]), rows, strict=True):
        layout = Layout([Group(sequences, 20)], PAD, CPU, cache)
        for parts, all_rows in zip(layers, expected, strict=True):
            query, key, value = (part[:, :, row] for part in parts)
            found = attend(layout, (query, key, value), window, softcap)
            torch.testing.assert_close(found, all_rows[:, row])


def check_alone(sizes: tuple[int, ...], window: int | None, softcap: float | None) -> None:
    """sizes: the prefix's length, then each answer's own. The reference is written out here."""
    prefix, *owns = sizes
    row = sum(sizes)
    query, key, value = random_parts(row)
    found = attend(Layout([group_of(sizes)], PAD, CPU), (query, key, value), window, softcap)
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


def group_of(sizes: tuple[int, ...]) -> Group:
    """sizes: the prefix's length, then each answer's own; no two tokens are alike."""
    prefix, *owns = sizes
    head = np.arange(prefix) + 1
    tails = [np.arange(own) + 1000 * (n + 1) for n, own in enumerate(owns)]
    return Group(tuple(np.concatenate([head, tail]) for tail in tails), prefix)


def random_parts(row: int, seed: int = 0) -> Parts:
    """Query, key and value with two query heads to a key head."""
    torch.manual_seed(seed)
    query, key, value = (torch.randn(1, heads, row, 8) for heads in (4, 2, 2))
    return query, key, value


def attend(
    layout: Layout, parts: Parts, window: int | None, softcap: float | None = None
) -> torch.Tensor:
    """What a layer's attention gives: (1, row, heads, width)."""
    with use_layout(layout):
        found, _ = attention.attention(
            torch.nn.Module(), *parts, None, 0.3, sliding_window=window, softcap=softcap
        )
    return found
