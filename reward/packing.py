"""The shared-prefix forward pass: one row `[prefix | answer 1 | answer 2 | ...]` per group.

In a causal model a token depends on the tokens before it alone, so the tokens that all answers of
a group start with are computed once. Everything but attention works on single tokens and needs to
know nothing of this. Attention gives each answer's queries the keys and values of the prefix and
of the answer, as if it stood alone: no mask of row x row is ever made, and a layer's sliding window
means what it always means. Several groups may stand in one row; nothing is padded.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from reward.batching import Group

ATTENTION = "shared_prefix"
BLOCK = 128  # queries that share one mask


class Layout:
    """Where the tokens of several groups stand in one row.

    input_ids, position_ids: (1, row); positions start again at the prefix's end for each answer.
    ends: (answers,) the row's position of the token that each answer is scored at.
    scored: the same positions, each once; answers of padding tokens alone share one.
    segments: lengths of the row's parts, in order: for each group its prefix with its first answer,
        then the own tokens of every further answer.
    groups: for each group, how many answers it has and the length of its prefix.
    """

    def __init__(self, groups: Sequence[Group], pad_token_id: int | None, device: torch.device):
        parts: list[np.ndarray] = []
        positions: list[np.ndarray] = []
        alone: list[np.ndarray] = []
        ends: list[int] = []
        self.segments: list[int] = []
        self.groups = [(len(group.sequences), group.prefix) for group in groups]
        row = 0
        for group in groups:
            prefix = np.arange(row, row + group.prefix)
            parts.append(group.sequences[0][: group.prefix])
            positions.append(np.arange(group.prefix))
            row += group.prefix
            self.segments.append(len(group.sequences[0]))
            self.segments += [len(sequence) - group.prefix for sequence in group.sequences[1:]]
            for sequence in group.sequences:
                own = len(sequence) - group.prefix
                parts.append(sequence[group.prefix :])
                positions.append(np.arange(group.prefix, len(sequence)))
                alone.append(np.concatenate([prefix, np.arange(row, row + own)]))
                ends.append(int(alone[-1][scored_position(sequence, pad_token_id)]))
                row += own
        self.input_ids = _tensor(np.concatenate(parts), device)[None]
        self.position_ids = _tensor(np.concatenate(positions), device)[None]
        self.ends = _tensor(np.array(ends), device)
        self.scored = _tensor(np.unique(ends), device)
        self._alone = alone

    @cached_property
    def unpacked(self) -> "Unpacked":
        """The same answers one after another, each with its own copy of the prefix."""
        device = self.input_ids.device
        everywhere = np.concatenate(self._alone)
        lengths = [len(one) for one in self._alone]
        # A prefix position is read back from its last copy; all copies are equal.
        back = np.empty(self.input_ids.shape[1], dtype=np.int64)
        back[everywhere] = np.arange(len(everywhere))
        starts = _tensor(np.cumsum([0, *lengths]), device).to(torch.int32)
        return Unpacked(_tensor(everywhere, device), _tensor(back, device), starts, max(lengths))


class Unpacked(NamedTuple):
    """How a row's tokens are copied for a kernel that takes sequences of many lengths."""

    gather: Tensor  # (tokens,) the row's position of each token
    scatter: Tensor  # (row,) where each of the row's positions is found again
    starts: Tensor  # (answers + 1,) int32, where each answer begins
    longest: int  # tokens


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)


def scored_position(sequence: np.ndarray, pad_token_id: int | None) -> int:
    """The position whose hidden state transformers' ForSequenceClassification scores.

    It is the last token that is not the padding token; 0 where every token is padding; and simply
    the last token where the model has no padding token (transformers 5, modeling_layers.py,
    GenericForSequenceClassification.forward).
    """
    if pad_token_id is None:
        return len(sequence) - 1
    kept = np.flatnonzero(sequence != pad_token_id)
    return int(kept[-1]) if len(kept) else 0


_layout: ContextVar[Layout] = ContextVar("layout")


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Tell every layer called in the block how its row is laid out."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def current_layout() -> Layout:
    """The layout that `laid_out` told."""
    return _layout.get()


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
    if has_flash_kernel(query) and softcap is None:
        return _varlen(layout, query, key, value, scaling, sliding_window), None
    queries, keys, values = (part.split(layout.segments, dim=2) for part in (query, key, value))
    out: list[Tensor] = []
    first = 0
    for answers, prefix in layout.groups:
        for own in range(first, first + answers):
            q, k, v = queries[own], keys[own], values[own]
            skip = 0
            if own > first:
                k, v = (torch.cat([x[first][:, :, :prefix], x[own]], dim=2) for x in (keys, values))
                if _whole_is_faster(prefix, q.shape[2]) and softcap is None and not sliding_window:
                    q = torch.cat([queries[first][:, :, :prefix], q], dim=2)
                    skip = prefix
            alone = _causal(q, k, v, scaling, sliding_window, softcap)
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
    window = length if window is None else window
    if softcap is None and window >= length and asked == length:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
        )
    # A mask makes the kernel compute what it hides: few queries at once, and no key that none sees.
    position = torch.arange(length, device=query.device)
    out: list[Tensor] = []
    for start in range(length - asked, length, BLOCK):
        end = min(start + BLOCK, length)
        seen_from = max(0, start + 1 - window)
        q = query[:, :, start - length + asked : end - length + asked]
        k, v = (part[:, :, seen_from:end] for part in (key, value))
        distance = position[start:end, None] - position[seen_from:end]
        seen = (distance >= 0) & (distance < window)
        if softcap is None:
            out.append(
                scaled_dot_product_attention(
                    q, k, v, attn_mask=seen, scale=scaling, enable_gqa=grouped
                )
            )
        else:
            out.append(_capped(q, k, v, seen, scaling, softcap))
    return torch.cat(out, dim=2)


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
    """The same on CUDA: one variable-length flash-attention call for all answers of the row."""
    gather, scatter, starts, longest = layout.unpacked
    q, k, v = (part[0].transpose(0, 1).index_select(0, gather) for part in (query, key, value))
    out: Tensor = varlen_attn(  # type: ignore[assignment]
        q,
        k,
        v,
        starts,
        starts,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.index_select(0, scatter)[None]


AttentionInterface.register(ATTENTION, attention)
