"""The shared-prefix row: `[prefix | answer 1 | answer 2 | ...]`, one group after another.

In a causal model a token depends on the tokens before it alone, so the tokens that all answers of
a group start with are computed once. Everything but attention (reward.scoring.attention) works on
single tokens and needs to know nothing of this. Nothing is padded. A group too large for one row is
cut into several, of which the first alone has the prefix.

Wang and Hegde 2024 (arXiv 2410.20305) published this for the two sides of a preference pair, and
flash-preference's FlashRewardTrainer (github.com/li-plus/flash-preference) does it on CUDA.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reward.scoring.groups import Group

# Of a group's prefix, layer by layer: keys and values, each (1, key heads, prefix, width).
PrefixCache = list[tuple[Tensor, Tensor]]


class Layout:
    """Where the tokens of several groups stand in one row.

    input_ids, position_ids: (1, row); positions start again at the prefix's end for each answer.
    ends: (answers,) the row's position of the token that each answer is scored at.
    scored: the same positions, each once; answers of padding tokens alone share one.
    segments: lengths of the row's parts, in order: for each group its prefix with its first answer,
        then the own tokens of every further answer.
    groups: for each group, how many answers it has and the length of its prefix.
    cache: where one group is computed in several rows, its prefix's keys and values, empty at
        first: the first row's layers add them, and later rows begin after the prefix.
    known: how many of the first segment's tokens the cache has, so that they are not in the row.
    longest: tokens of the longest answer with its prefix.
    bands: by window, a mask that the row's layers share (reward.scoring.attention).
    """

    def __init__(
        self,
        groups: Sequence[Group],
        pad_token_id: int | None,
        device: torch.device,
        cache: PrefixCache | None = None,
    ):
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
        self.cache = cache
        self.known = groups[0].prefix if cache else 0
        self._unread = iter(cache or ())
        self.input_ids = _tensor(np.concatenate(parts)[self.known :], device)[None]
        self.position_ids = _tensor(np.concatenate(positions)[self.known :], device)[None]
        self.ends = _tensor(np.array(ends) - self.known, device)
        self.scored = _tensor(np.unique(ends) - self.known, device)
        self.longest = max(map(len, alone))
        self.bands: dict[int | None, Tensor] = {}
        self._alone = alone

    def with_known(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values, those of the known prefix before them.

        To be called once by each layer, in their order, which is the order of the cache.
        """
        if self.known:
            known_key, known_value = next(self._unread)
            return torch.cat([known_key, key], dim=2), torch.cat([known_value, value], dim=2)
        if self.cache is not None:
            ((_, prefix),) = self.groups
            self.cache.append((key[:, :, :prefix].clone(), value[:, :, :prefix].clone()))
        return key, value

    @cached_property
    def unpacked(self) -> "Unpacked":
        """The same answers one after another, each with its own copy of the prefix."""
        device = self.input_ids.device
        everywhere = np.concatenate(self._alone)
        lengths = [len(one) for one in self._alone]
        # A prefix position is read back from its last copy; all copies are equal.
        back = np.empty(sum(self.segments), dtype=np.int64)
        back[everywhere] = np.arange(len(everywhere))
        starts = _tensor(np.cumsum([0, *lengths]), device).to(torch.int32)
        return Unpacked(_tensor(everywhere, device), _tensor(back, device), starts)


class Unpacked(NamedTuple):
    """How a row's tokens are copied for a kernel that takes sequences of many lengths."""

    gather: Tensor  # (tokens,) where each token stands in the known prefix and the row after it
    scatter: Tensor  # (known + row,) where each of these is found again
    starts: Tensor  # (answers + 1,) int32, where each answer begins


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
    others = np.flatnonzero(sequence != pad_token_id)
    return int(others[-1]) if len(others) else 0


_layout: ContextVar[Layout] = ContextVar("layout")


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Let every layer that is called in the block work on rows of this layout."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def current_layout() -> Layout:
    """The layout of the `use_layout` block that this is called in."""
    return _layout.get()


def same_layout() -> AbstractContextManager[None]:
    """The layout in use, if any, for a block that runs later and perhaps in another thread."""
    layout = _layout.get(None)
    return use_layout(layout) if layout else nullcontext()
