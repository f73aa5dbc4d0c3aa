"""Attention of a laid-out row: each answer as if it stood alone.

Each answer's queries get the keys and values of its group's prefix and of the answer. No mask of
row x row is ever made, and a layer's sliding window means what it always means.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from reward.scoring.layout import Layout, current_layout

ATTENTION = "shared_prefix"  # its name in a network's config
BLOCK = 128  # queries that share one mask


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of one laid-out row, in the form that transformers' AttentionInterface asks for.

    query: (1, heads, row, width); key, value: (1, key heads, row, width). Returns (1, row, heads,
    width) and no weights. Dropout is off in reward training, so there is none here.
    """
    layout = current_layout()
    if query.is_cuda and softcap is None and torch.is_autocast_enabled("cuda"):
        # Rotary positions leave queries and keys in the format of the weights.
        dtype = torch.get_autocast_dtype("cuda")
        query, key, value = (part.to(dtype) for part in (query, key, value))
    key, value = layout.with_known(key, value)
    if has_flash_kernel(query) and softcap is None:
        return _varlen(layout, query, key, value, scaling, sliding_window), None
    keys, values = (part.split(layout.segments, dim=2) for part in (key, value))
    queries = query.split([layout.segments[0] - layout.known, *layout.segments[1:]], dim=2)
    out: list[Tensor] = []
    first = 0
    for answers, prefix in layout.groups:
        for own in range(first, first + answers):
            q, k, v = queries[own], keys[own], values[own]
            skip = 0
            if own > first:
                k, v = (torch.cat([x[first][:, :, :prefix], x[own]], dim=2) for x in (keys, values))
                plain = softcap is None and not sliding_window and not layout.known
                if plain and _whole_is_faster(prefix, q.shape[2]):
                    q = torch.cat([queries[first][:, :, :prefix], q], dim=2)
                    skip = prefix
            alone = _causal(layout, q, k, v, scaling, sliding_window, softcap)
            out.append(alone[:, :, skip:].transpose(1, 2))
        first += answers
    return torch.cat(out, dim=1), None


def _whole_is_faster(prefix: int, own: int) -> bool:
    """Whether an answer is computed faster with the prefix's queries, which are then left out.

    That is one causal call, for which torch's kernel takes larger blocks from 768 queries on: more
    than a prefix costs that is the shorter part (measured on a CPU).
    """
    return own >= prefix and prefix + own >= 768


def has_flash_kernel(query: Tensor) -> bool:
    """Whether torch's variable-length kernel takes it: 16 bits, on a GPU of Ampere or later."""
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _causal(
    layout: Layout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Causal attention of one sequence; each argument is (1, heads, tokens, width).

    The queries may be those of the last tokens alone.
    """
    asked, length = query.shape[2], key.shape[2]
    grouped = query.shape[1] != key.shape[1]
    if softcap is None and asked == length and (window is None or window >= length):
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    # A mask makes the kernel compute what it hides: few queries at once, and no key that none sees.
    band = _band(layout, window)
    out: list[Tensor] = []
    for start in range(length - asked, length, BLOCK):
        end = min(start + BLOCK, length)
        seen_from = 0 if window is None else max(0, start + 1 - window)
        q = query[:, :, start - length + asked : end - length + asked]
        k, v = (part[:, :, seen_from:end] for part in (key, value))
        left = layout.longest - (start - seen_from)  # the column of the first key that is seen
        seen = band[: end - start, left : left + end - seen_from]
        if softcap is None:
            out.append(
                scaled_dot_product_attention(
                    q, k, v, attn_mask=seen, scale=scaling, enable_gqa=grouped
                )
            )
        else:
            out.append(_capped(q, k, v, seen, scaling, softcap))
    return torch.cat(out, dim=2)


def _band(layout: Layout, window: int | None) -> Tensor:
    """What every block's queries see, as parts of one mask: bool (BLOCK, longest + BLOCK).

    The query of row i stands longest + i - j tokens after the key of column j, and sees it where
    that is from 0 on and less than `window`. All layers of a window share it.
    """
    if window not in layout.bands:
        device = layout.input_ids.device
        columns = torch.arange(layout.longest + BLOCK, device=device)
        distance = columns[layout.longest :, None] - columns
        layout.bands[window] = (distance >= 0) & (distance < (window or len(columns)))
    return layout.bands[window]


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor,
    scaling: float | None,
    softcap: float,
) -> Tensor:
    """Attention whose scores s are c tanh(s / c), as in Gemma 2 (arXiv 2408.00118, section 2)."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(repeats, dim=1) for part in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    weights = softcap * torch.tanh(query @ key.mT * scale / softcap)
    weights = weights.masked_fill(~seen, -torch.inf).softmax(-1, dtype=torch.float32)
    return weights.to(value.dtype) @ value


def _varlen(
    layout: Layout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """The same on CUDA: one variable-length flash-attention call for all answers of the row.

    What a known prefix's queries give is never used: any will do.
    """
    gather, scatter, starts = layout.unpacked
    asked = (gather - layout.known).clamp(min=0)
    q, k, v = (
        part[0].transpose(0, 1).index_select(0, where)
        for part, where in ((query, asked), (key, gather), (value, gather))
    )
    out: Tensor = varlen_attn(  # type: ignore[assignment]
        q,
        k,
        v,
        starts,
        starts,
        layout.longest,
        layout.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.index_select(0, scatter[layout.known :])[None]


AttentionInterface.register(ATTENTION, attention)
