"""Hidden states at a border, computed, written and read (reward.scoring.states)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from accelerate.utils.memory import should_reduce_batch_size
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.harness.files import sha256
from reward.scoring.border import Border, StoppedError, states_in
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group, shares
from reward.scoring.layout import scored_position
from reward.scoring.scorer import Scorer
from reward.scoring.states import Kept, States, as_stored, kept_places


def kept_tokens(scorer: Scorer, border: Border, groups: Sequence[Group]) -> Kept:
    """Which tokens' states at a border the rewards of groups depend on; the longest is tried.

    Only where no layer is trained can it be one token of each answer: layers mix them.
    """
    if border.trained:
        return "all"
    if scorer.shared:
        return "scored"
    group = Group(max(groups, key=lambda group: group.shared_tokens).sequences[:2], 0)
    found: list[Tensor] = []
    hook = border.last.register_forward_hook(lambda *given: found.append(states_in(given[-1])))
    with torch.enable_grad():
        rewards = scorer(scorer.network, [group])
    hook.remove()
    gradients = [row for one in torch.autograd.grad(rewards.sum(), found) for row in one]
    used = [torch.nonzero(row.abs().sum(-1))[:, 0].tolist() for row in gradients]
    if all(places == [0] for places in used):
        return "first"
    ends = [scored_position(one, scorer.pad_token_id) for one in group.sequences]
    return "scored" if used == [[end] for end in ends] else "all"


class Writer:
    """Computes the states of sets of pairs, and writes them to a folder that is there.

    kept: see `kept_tokens`. budget: tokens computed at once. depths: numbers of layers, for which
    `write` tells what the head would work on if the network ended there.

    Each process computes a share, and the main one writes.
    """

    def __init__(
        self,
        scorer: Scorer,
        border: Border,
        kept: Kept,
        folder: Path,
        *,
        budget: int,
        depths: Sequence[int] = (),
    ):
        self.scorer, self.border, self.kept, self.folder = scorer, border, kept, folder
        self.budget, self.depths = budget, depths
        self.hashes: dict[str, str] = {}
        border.put_in()

    def size(self, sets: Mapping[str, Comparisons]) -> int:
        """The bytes that the files of these sets take; one answer is computed to know."""
        group = next(iter(sets.values())).groups[0]
        ((states, _),) = self._compute([Group(group.sequences[:1], 0)])
        rows = sum(one.shared_tokens for pairs in sets.values() for one in self._stored(pairs))
        return rows * states.shape[1] * states.element_size()

    def write(self, name: str, compared: Comparisons) -> NDArray[np.float32]:
        """Write one set; returns, in the main process, what the head would work on after each of
        the depths: (depths, answers, width), the answers in the order of the groups.
        """
        state, groups = PartialState(), compared.groups
        ends = np.cumsum([one.shared_tokens for one in self._stored(compared)])
        partition = shares([one.shared_tokens for one in groups], state.num_processes)
        work = [self._micro_batches(groups, share) for share in partition]
        features: dict[int, np.ndarray] = {}
        file = None
        # disable=None: no bar where stderr is not a terminal.
        hidden = None if state.is_main_process else True
        with tqdm(total=len(groups), desc=f"states {name}", unit="prompt", disable=hidden) as bar:
            for turn in zip_longest(*work, fillvalue=()):
                batch = turn[state.process_index]
                computed = self._compute([groups[i] for i in batch]) if batch else []
                found = [(i, *_to_numpy(*one)) for i, one in zip(batch, computed, strict=True)]
                for i, states, of_depths in gather_object(found):
                    if state.is_main_process:
                        if file is None:
                            shape = (int(ends[-1]), states.shape[1])
                            path = self.folder / f"{name}.npy"
                            file = open_memmap(path, "w+", dtype=states.dtype, shape=shape)
                        file[ends[i] - len(states) : ends[i]] = states
                        features[i] = of_depths
                    bar.update()
        if file is not None:
            file.flush()
            self.hashes[name] = sha256(self.folder / f"{name}.npy")
        in_order = [features[i] for i in sorted(features)]
        return np.concatenate(in_order, axis=1) if in_order else np.empty((0, 0, 0), np.float32)

    def settings(self) -> States:
        """What settings.json says after all sets are written."""
        return States(
            trained_layers=self.border.trained,
            shared=self.scorer.shared,
            kept=self.kept,
            weights=str(self.scorer.network.dtype),
            sets=self.hashes,
        )

    def _stored(self, compared: Comparisons) -> list[Group]:
        scorer = self.scorer
        return [
            as_stored(group, scorer.shared, self.kept, scorer.pad_token_id)
            for group in compared.groups
        ]

    def _micro_batches(self, groups: Sequence[Group], share: Sequence[int]) -> list[list[int]]:
        cut = self.scorer.micro_batches([groups[i] for i in share], self.budget)
        return [[share[i] for i in micro] for micro in cut]

    @torch.no_grad()
    def _compute(self, groups: Sequence[Group]) -> list[tuple[Tensor, Tensor]]:
        """For each group the states that are stored, (rows, width), and what the head would work
        on after each depth, (depths, answers, width).

        Raises InputError where they do not fit into memory.
        """
        scorer, pad = self.scorer, self.scorer.pad_token_id
        try:
            if len(groups) == 1 and scorer.cost(groups) > self.budget:
                states, features = self._in_pieces(groups[0])
            else:
                states, features = self._pass(groups)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            raise InputError(
                f"{scorer.cost(groups)} tokens at once do not fit into memory: lower "
                f"states.micro_batch_tokens or max_length."
            ) from None
        rows = [as_stored(one, scorer.shared, self.kept, pad).shared_tokens for one in groups]
        answers_of = [len(group.sequences) for group in groups]
        return list(zip(states.split(rows), features.split(answers_of, dim=1), strict=True))

    def _in_pieces(self, group: Group) -> tuple[Tensor, Tensor]:
        """The same of a group that exceeds the budget, in passes that compute its prefix each."""
        passes = [self._pass([piece]) for piece in self.scorer.whole_passes(group, self.budget)]
        known = group.prefix if self.scorer.shared and self.kept == "all" else 0
        further = [(states[known:], features) for states, features in passes[1:]]
        return _joined([passes[0], *further])

    def _pass(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        scorer, border = self.scorer, self.border
        answers = sum(len(group.sequences) for group in groups)
        if not scorer.shared and scorer.alone and answers > 1:
            alone = [self._pass([Group((one,), 0)]) for group in groups for one in group.sequences]
            return _joined(alone)
        layers = [border.layers[depth - 1] for depth in self.depths if depth < len(border.below)]
        with border.stopping([*layers, border.last]) as found, suppress(StoppedError):
            scorer(scorer.network, groups)
        rows = self._rows(groups, longest=found[-1].shape[1])
        stored = found[-1].flatten(0, 1)[rows]
        features = [torch.empty(0, answers, 0)]
        for states in found if self.depths else ():
            border.given = states
            scorer(scorer.network, groups)
            inputs = scorer.head.inputs
            if inputs.dim() == 3:  # the head works on each token
                inputs = inputs.flatten(0, 1)[rows]
            features.append(inputs.float()[None])
        return stored, torch.cat(features[1:] or features)

    def _rows(self, groups: Sequence[Group], longest: int) -> Tensor:
        """Where the tokens that are stored stand among all of a forward pass.

        longest: tokens of each of its rows, where these are padded.
        """
        found: list[Sequence[int]] = []
        start = 0
        for group in groups:
            places = kept_places(group, self.kept, self.scorer.pad_token_id)
            if not self.scorer.shared:
                for one, place in zip(group.sequences, places, strict=True):
                    found.append(range(len(one)) if self.kept == "all" else [place])
                    found[-1] = [start + i for i in found[-1]]
                    start += longest
                continue
            if self.kept == "all":
                found.append(range(start, start + group.shared_tokens))
            own = start
            for one, place in zip(group.sequences, places, strict=True):
                if self.kept != "all":
                    found.append([(start if place < group.prefix else own) + place])
                own += len(one) - group.prefix
            start += group.shared_tokens
        return torch.tensor([i for part in found for i in part], device=self.scorer.network.device)


def _joined(passes: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """States and features of several passes, one after another."""
    return torch.cat([one for one, _ in passes]), torch.cat([one for _, one in passes], dim=1)


def _to_numpy(states: Tensor, features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    stored = states.cpu().contiguous()
    if stored.dtype == torch.bfloat16:
        stored = stored.view(torch.int16)
    return stored.numpy(), features.cpu().numpy()
