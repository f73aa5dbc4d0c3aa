"""The gradient of a batch, added up in passes of a token budget.

The batch's groups are shared out to the processes and cut into micro-batches. Each pair has its
share of the batch's weight, so the gradient is that of the whole batch at once, however it was cut.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from reward.harness.errors import InputError
from reward.scoring.groups import Group, shares
from reward.scoring.scorer import Scorer
from reward.training.objective import Objective

log = logging.getLogger(__name__)

Batch = Sequence[int]  # groups, by their places in the training data


class BatchGradient:
    """Adds the gradient of batches to a network's weights.

    scorer: of the network. budget: tokens that one pass may compute; a pair always passes.
    autocast: the context in which rewards are computed. sharded: whether weights are sharded, by
    FSDP, so that all processes must make the same passes.
    """

    def __init__(
        self,
        objective: Objective,
        scorer: Scorer,
        accelerator: Accelerator,
        *,
        budget: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        sharded: bool,
    ):
        self.objective, self.scorer, self.accelerator = objective, scorer, accelerator
        self.budget, self.autocast, self.sharded = budget, autocast, sharded
        self.groups = objective.compared.groups
        self._smallest = [min(range(len(self.groups)), key=lambda i: self.groups[i].shared_tokens)]
        self._failed = 0

    def add(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Add the gradient of a batch's mean loss, over all processes.

        model: the network or whatever wraps it. batch: the same in every process. Returns the means
        of loss, hits, margins and both rewards, (4,).

        Raises InputError where a pair alone does not fit into memory.
        """
        work, total = self.micro_batches(batch), self.objective.weight(batch)
        while (sums := self._accumulate(model, work, total, self._idle_scorings(batch))) is None:
            work = self._split(work)
            model.zero_grad()
        return self.accelerator.reduce(sums, reduction="sum") / total

    def micro_batches(self, batch: Batch) -> list[Batch]:
        """This process's part of a batch, cut by the token budget.

        An empty micro-batch is one whose pass counts for nothing: every process takes part in the
        exchange of gradients at the batch's end, and with FSDP in that of weights at each pass.
        """
        cut = self._shares(batch)
        counts = [sum(len(self._pieces(micro)) or 1 for micro in share) for share in cut]
        mine = self.accelerator.process_index
        idle: list[Batch] = [[] for _ in range((max(counts) if self.sharded else 1) - counts[mine])]
        return idle + cut[mine]

    def _shares(self, batch: Batch) -> list[list[Batch]]:
        """The micro-batches of each process; a group goes to one as a whole."""
        sizes = [self.groups[i].shared_tokens for i in batch]
        partition = [
            [batch[i] for i in share] for share in shares(sizes, self.accelerator.num_processes)
        ]
        return [
            [
                [share[i] for i in micro]
                for micro in self.scorer.micro_batches([self.groups[i] for i in share], self.budget)
            ]
            for share in partition
        ]

    def _pieces(self, micro: Batch) -> list[Group]:
        """The parts of a group that alone exceeds the budget; none for any other micro-batch."""
        if len(micro) != 1 or self.scorer.cost([self.groups[micro[0]]]) <= self.budget:
            return []
        pieces = self.scorer.whole_passes(self.groups[micro[0]], self.budget)
        return pieces if len(pieces) > 1 else []

    def _idle_scorings(self, batch: Batch) -> int:
        """With FSDP: passes without a gradient that this process makes because another does."""
        if not self.sharded:
            return 0
        counts = [
            sum(
                len(self.scorer.passes(self.groups[micro[0]], self.budget))
                for micro in share
                if self._pieces(micro)
            )
            for share in self._shares(batch)
        ]
        return max(counts) - counts[self.accelerator.process_index]

    def _accumulate(
        self, model: torch.nn.Module, work: list[Batch], total: float, idle: int
    ) -> Tensor | None:
        """Backward over every micro-batch of one batch; `total` is the weight of all its pairs.

        Returns this process's sums of loss, hits, margins and rewards, shape (4,), or None, with
        `self._failed` the place in `work`, where a micro-batch did not fit into memory.
        """
        sums = torch.zeros(4, device=self.accelerator.device)
        slopes: dict[int, Tensor] = {}
        # Data-parallel wrappers average over processes what has to be a sum.
        weight = self.accelerator.num_processes / total
        try:
            # First, as with FSDP all processes make passes of one kind at a time.
            for self._failed, micro in enumerate(work):
                if self._pieces(micro):
                    slopes[self._failed], found = self._slopes(model, micro)
                    sums += found
            for _ in range(idle):
                self._score(model, self._smallest)
            for self._failed, micro in enumerate(work):
                last = self._failed == len(work) - 1
                if self._failed in slopes:
                    self._in_pieces(model, micro, slopes[self._failed] * weight, last)
                else:
                    with self._exchanging(model, last):
                        sums += self._backward(model, micro, weight)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            if self.accelerator.num_processes > 1 or self.sharded:
                # The others have gone on; what they wait for cannot be computed again.
                raise InputError(
                    f"a micro-batch of {self.budget} tokens does not fit into memory: lower "
                    f"train.micro_batch_tokens."
                ) from None
            return None
        return sums

    def _exchanging(self, model: torch.nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Gradients cross processes once, with a batch's last pass; with FSDP each time, as those
        of all weights would not fit into one process.
        """
        return nullcontext() if last or self.sharded else self.accelerator.no_sync(model)

    def _backward(self, model: torch.nn.Module, micro: Batch, weight: float) -> Tensor:
        groups = micro or self._smallest
        with self.autocast():
            rewards = self.scorer(model, [self.groups[i] for i in groups])
        loss, sums = self.objective(rewards, groups)
        self.accelerator.backward(loss * (weight if micro else 0.0))
        return sums if micro else torch.zeros_like(sums)

    def _score(self, model: torch.nn.Module, micro: Batch) -> Tensor:
        """The rewards of one group's answers, without a gradient."""
        with self.autocast():
            network = model if self.sharded else self.scorer.network
            return self.scorer.in_passes(network, self.groups[micro[0]], self.budget)

    def _slopes(self, model: torch.nn.Module, micro: Batch) -> tuple[Tensor, Tensor]:
        """By how much the loss of a group rises with each of its rewards, and its sums.

        With these slopes known, the gradient is exact even where answers go through the network one
        after another, though losses depend on several (Gao et al. 2021, arXiv 2101.06983, 3.1).
        """
        rewards = self._score(model, micro).requires_grad_()
        loss, sums = self.objective(rewards, micro)
        return torch.autograd.grad(loss, rewards)[0], sums

    def _in_pieces(self, model: torch.nn.Module, micro: Batch, slopes: Tensor, last: bool) -> None:
        """Backward over one group, piece by piece: memory holds the prefix once, with one piece."""
        pieces = self._pieces(micro)
        parts = slopes.split([len(piece.sequences) for piece in pieces])
        for number, (piece, part) in enumerate(zip(pieces, parts, strict=True), 1):
            with self._exchanging(model, last and number == len(pieces)):
                with self.autocast():
                    rewards = self.scorer(model, [piece])
                self.accelerator.backward((rewards * part).sum())

    def _split(self, work: list[Batch]) -> list[Batch]:
        """Halve the micro-batch that did not fit, and keep later ones as small.

        The whole batch starts over: a backward pass that was cut off has left part of its
        gradient, which cannot be separated from the others'.
        """
        clear_device_cache(garbage_collection=True)
        micro = work[self._failed]
        if len(micro) == 1:
            pieces = self._pieces(micro) or [self.groups[micro[0]]]
            largest = max(pieces, key=lambda piece: self.scorer.cost([piece]))
            if len(largest.sequences) <= 2:
                raise InputError(
                    f"a single pair of {largest.shared_tokens} tokens does not fit into memory: "
                    f"lower max_length or choose a smaller backbone."
                )
            self.budget = self.scorer.cost([largest]) // 2
            parts = [micro]
        else:
            half = len(micro) // 2
            parts = [micro[:half], micro[half:]]
            self.budget = max(self.scorer.cost([self.groups[i] for i in part]) for part in parts)
        log.warning("Out of memory: micro-batches of %d tokens from now on.", self.budget)
        return [*work[: self._failed], *parts, *work[self._failed + 1 :]]
