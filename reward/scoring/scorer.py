"""Rewards from a network: the forward pass that training, evaluation and scoring share."""

import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from tqdm import tqdm
from transformers import PreTrainedModel

from reward.harness.errors import InputError
from reward.scoring.attention import ATTENTION
from reward.scoring.border import Border, stored_row, stored_rows
from reward.scoring.groups import Group, micro_batches, shares
from reward.scoring.head import Head
from reward.scoring.internals import (
    attention_of,
    takes_attention,
    takes_positions,
    takes_use_cache,
    use_attention,
)
from reward.scoring.layers import OtherFormError, fuse_gelu, last_feed_forward, only_scored
from reward.scoring.layout import Layout, PrefixCache, scored_position, use_layout

log = logging.getLogger(__name__)

# The largest difference, relative to the largest reward, that the two forward passes may show:
# a few roundings of the number format, which differ because sums are taken in another order.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 5e-2, torch.float16: 1e-2}


class Scorer:
    """Gives a network's rewards for groups of answers.

    network: a sequence-classification model with one label, its adapter put in already.
    """

    def __init__(self, network: PreTrainedModel):
        self.network = network
        self.shared = False
        # Whether each answer goes through the network by itself: transformers takes no two rows
        # without a padding token.
        self.alone = self.pad_token_id is None
        self._plain_attention = attention_of(network)
        self._narrowed: list[RemovableHandle] = []
        self._most = sys.maxsize  # tokens at once, where memory has once run out
        self.border: Border | None = None
        fuse_gelu(network)
        self.head = Head(network)

    @property
    def pad_token_id(self) -> int | None:
        return self.network.config.get_text_config().pad_token_id

    def share_prefixes(self, groups: Sequence[Group]) -> bool:
        """Compute shared prefixes once from now on, if that gives this network's own rewards.

        Both forward passes are run on the shortest, the median and the longest of `groups`, each
        answer alone and all in one row.
        Encoders, recurrent layers and networks that do not take their attention from transformers'
        interface keep padded rows, and one logged sentence says so; where padding changes the
        rewards, each answer goes through the network alone.
        """
        few = [Group.of(groups[i].sequences[:2]) for i in _few(groups)]
        alone = [Group((sequence,), 0) for group in few for sequence in group.sequences]
        own = np.concatenate(self.score(alone, 1, None))
        reason = self._not_shared(few, own)
        if not reason:
            return True
        if self.shared:
            self._switch(False)
        log.warning("%s: no shared prefixes, %s.", type(self.network).__name__, reason)
        lengths = [len(one.sequences[0]) for one in alone]
        ends = [int(np.argmin(lengths)), int(np.argmax(lengths))]
        padded = np.concatenate(self.score([alone[i] for i in ends], sys.maxsize, None))
        if self._other(own[ends], padded):
            self.alone = True
            log.warning(
                "%s: padding changes its rewards; each answer is computed alone.",
                type(self.network).__name__,
            )
        return False

    def _not_shared(self, few: Sequence[Group], own: np.ndarray) -> str:
        """Try shared prefixes; returns why they cannot be, nothing where they are on from now.

        own: the network's own rewards of these groups' answers.
        """
        if not takes_attention(self.network):
            return "it has no replaceable attention"
        if self.head.rewards.dim() != 3:
            return "it rewards whole rows"
        if not takes_positions(self.network):
            return "its forward pass is of another form (it takes no position_ids)"
        self._switch(True)
        try:
            shared = np.concatenate(self.score(few, self.cost(few), None))
        except OtherFormError as error:
            return f"its forward pass is of another form ({error})"
        return self._other(own, shared)

    def take_states(self, border: Border, groups: Sequence[Group], stored: Sequence[Group]) -> bool:
        """Put stored states in at a border from now on, if that gives this network's own rewards.

        groups: as they are. stored: the same with states. Both are scored, the shortest, the median
        and the longest; where they differ, one logged sentence says so and every pass goes on
        through all layers.
        """
        border.put_in()
        self.border = border
        own, put_in = (
            np.concatenate(self.score(few, self.cost(few), None))
            for few in ([some[i] for i in _few(groups)] for some in (groups, stored))
        )
        if wrong := self._other(own, put_in):
            log.warning("The stored states are not used: %s.", wrong)
            self.border = None
        return not wrong

    def _other(self, own: np.ndarray, found: np.ndarray) -> str:
        """Where rewards are not the network's own: by how much."""
        difference = float(np.abs(own - found).max() / max(np.abs(own).max(), 1e-6))
        device = self.network.device.type
        dtype = self.network.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        if difference <= TOLERANCE[dtype]:
            return ""
        return f"rewards would change by {difference:.1e} of the largest"

    def _switch(self, shared: bool) -> None:
        self.shared = shared
        use_attention(self.network, ATTENTION if shared else self._plain_attention)
        for hook in self._narrowed:
            hook.remove()
        feed_forward = last_feed_forward(self.network) if shared else None
        self._narrowed = only_scored(feed_forward) if feed_forward else []

    def sizes(self, groups: Sequence[Group]) -> list[tuple[int, int]]:
        """What `groups.micro_batches` needs: tokens and rows of each group."""
        if self.shared:
            return [(group.shared_tokens, 1) for group in groups]
        return [(max(map(len, group.sequences)), len(group.sequences)) for group in groups]

    def cost(self, groups: Sequence[Group]) -> int:
        """Tokens that are computed where all groups go through the network at once."""
        tokens, rows = zip(*self.sizes(groups), strict=True)
        return sum(tokens) if self.shared else max(tokens) * sum(rows)

    def micro_batches(self, groups: Sequence[Group], budget: int) -> list[list[int]]:
        """Positions of the groups, cut so that at most `budget` tokens are computed at once."""
        return micro_batches(self.sizes(groups), budget, padded=not self.shared)

    def __call__(
        self,
        model: Callable[..., object],
        groups: Sequence[Group],
        cache: PrefixCache | None = None,
    ) -> Tensor:
        """Rewards of all answers of the groups, in order: (answers,), float32 or wider.

        model: the network or whatever wraps it (adapter, data-parallel wrapper).
        cache: for one group in several calls, which share its prefix: empty at the first.
        """
        self.head.forget()  # of a pass that ran out of memory, this is all that holds the graph
        device = self.network.device
        if self.shared:
            layout = Layout(groups, self.pad_token_id, device, cache)
            if self.border:
                self.border.given = stored_row(groups, layout.known, device)
            with use_layout(layout):
                model(input_ids=layout.input_ids, position_ids=layout.position_ids, use_cache=False)
            return self.head.rewards[0, layout.ends, 0]
        sequences = [sequence for group in groups for sequence in group.sequences]
        if self.alone and len(sequences) > 1:
            return torch.cat([self(model, [one]) for group in groups for one in _alone(group)])
        lengths = [len(sequence) for sequence in sequences]
        rows = np.full((len(sequences), max(lengths)), self.pad_token_id or 0, dtype=np.int64)
        for row, sequence in zip(rows, sequences, strict=True):
            row[: len(sequence)] = sequence
        mask = np.arange(rows.shape[1]) < np.array(lengths)[:, None]
        if self.border:
            self.border.given = stored_rows(groups, rows.shape[1], device)
        output = model(
            input_ids=torch.from_numpy(rows).to(device),
            attention_mask=torch.from_numpy(mask.astype(np.int64)).to(device),
            **({"use_cache": False} if takes_use_cache(self.network) else {}),
        )
        return output.logits[:, 0]  # type: ignore[attr-defined]

    @torch.no_grad()
    def score(
        self, groups: Sequence[Group], budget: int, bar: "tqdm[Any] | None"
    ) -> list[np.ndarray]:
        """Rewards of many groups: for each group, in order, a float32 array of shape (answers,).

        budget: tokens computed at once, padding counted; a group of more answers than fit is cut.
            What does not fit into memory is cut as well, and what follows is kept as small.
        bar: is moved on by a group at a time.

        Raises InputError where one answer alone does not fit into memory.
        """
        self.network.eval()
        scored: dict[int, np.ndarray] = {}
        budget = min(budget, self._most)
        batches = deque(self.micro_batches(groups, budget))
        while batches:
            chosen = [groups[i] for i in batches[0]]
            try:
                rewards = self._score_at_once(chosen, budget)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                rewards = None
            if rewards is None:  # out of the handler, which holds on to what the pass has left
                budget = self._most = min(self._most, self._smaller_budget(chosen, budget))
                left = [i for batch in batches for i in batch]
                cut = self.micro_batches([groups[i] for i in left], budget)
                batches = deque([left[i] for i in batch] for batch in cut)
                continue
            scored.update(zip(batches.popleft(), rewards, strict=True))
            if bar is not None:
                bar.update(len(chosen))
        return [scored[i] for i in range(len(groups))]

    def _smaller_budget(self, groups: Sequence[Group], budget: int) -> int:
        """For groups that did not fit into memory: half of what they take."""
        clear_device_cache(garbage_collection=True)
        longest = max(len(sequence) for group in groups for sequence in group.sequences)
        pieces = [piece for group in groups for piece in group.pieces(budget)]
        if len(groups) == 1 and all(len(piece.sequences) == 1 for piece in pieces):
            raise InputError(
                f"an answer of {longest} tokens with its prompt does not fit into memory: lower "
                f"max_length or choose a smaller backbone."
            )
        smaller = min(budget, self.cost(groups)) // 2
        log.warning("Out of memory: at most %d tokens at once from now on.", smaller)
        return smaller

    def _score_at_once(self, groups: Sequence[Group], budget: int) -> list[np.ndarray]:
        if self.cost(groups) > budget and len(groups[0].sequences) > 1:  # it is one group
            return [self._score_in_pieces(groups[0], budget)]
        rewards = self(self.network, groups).cpu().numpy()
        return np.split(rewards, np.cumsum([len(group.sequences) for group in groups])[:-1])

    def _score_in_pieces(self, group: Group, budget: int) -> np.ndarray:
        if not self.shared:
            return np.concatenate(self.score(_alone(group), budget, None))
        return self.in_passes(self.network, group, budget).cpu().numpy()

    @torch.no_grad()
    def in_passes(self, model: Callable[..., object], group: Group, budget: int) -> Tensor:
        """Rewards of one group's answers, (answers,), in as many passes as `passes` says."""
        cache: PrefixCache | None = [] if self.shared else None
        return torch.cat([self(model, [piece], cache) for piece in self.passes(group, budget)])

    def passes(self, group: Group, budget: int) -> list[Group]:
        """One group cut so that a pass computes at most `budget` tokens, where there is no
        gradient: all but the first find the prefix's keys and values in a cache.
        """
        if not self.shared:
            return self.whole_passes(group, budget)
        # What is scored stands after the prefix, even where an answer is padding tokens alone.
        ends = [scored_position(sequence, self.pad_token_id) for sequence in group.sequences]
        if min(ends) < group.prefix:
            group = Group(group.sequences, min(ends))
        return group.pieces(budget)

    def whole_passes(self, group: Group, budget: int) -> list[Group]:
        """The same where each pass computes the prefix for itself, of two answers at least."""
        if self.shared:
            return group.pieces(budget, known=False, least=2)
        rows = max(2, budget // max(map(len, group.sequences)))
        starts = range(0, len(group.sequences), rows)
        return [group.part(i, i + rows) for i in starts]


def _few(groups: Sequence[Group]) -> list[int]:
    """The shortest, the median and the longest."""
    order = sorted(range(len(groups)), key=lambda i: groups[i].shared_tokens)
    return [order[i] for i in (0, len(order) // 2, -1)]


def _alone(group: Group) -> list[Group]:
    """The answers of a group, each in one of its own."""
    return [group.part(i, i + 1) for i in range(len(group.sequences))]


def score_everywhere(
    scorer: Scorer, groups: Sequence[Group], budget: int, progress: str | None
) -> list[np.ndarray]:
    """`Scorer.score` with a share of the groups in each process; each returns all rewards.

    progress: what the bar is labelled, or None for no bar.
    """
    state = PartialState()
    partition = shares([group.shared_tokens for group in groups], state.num_processes)
    mine = partition[state.process_index]
    hidden = progress is None or not state.is_main_process
    # None: no bar where stderr is not a terminal.
    disable = True if hidden else None
    with tqdm(total=len(mine), desc=progress, unit="prompt", disable=disable) as bar:
        rewards = scorer.score([groups[i] for i in mine], budget, bar)
    scored = list(zip(mine, rewards, strict=True))
    everything = dict(gather_object(scored))
    return [everything[i] for i in range(len(groups))]
