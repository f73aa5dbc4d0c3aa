"""The optimiser's step: TRL's RewardTrainer with an inner loop that pays for no token twice.

A step's pairs are drawn by the seed, shared out to the processes, cut into micro-batches by a token
budget, and their gradients added up. Each pair weighs 1 / pairs of the step, so the gradient is
that of the whole batch at once, however it was cut.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from peft import LoraConfig
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedModel
from trl import RewardConfig

from reward.harness.errors import InputError
from reward.scoring.groups import Group, shares
from reward.scoring.layers import add_embedding_gradients_in_place
from reward.scoring.scorer import Scorer, score_everywhere
from reward.training.base_trainer import BaseTrainer
from reward.training.checkpoints import mark_complete, read_budget, remove_older
from reward.training.curve import Progress
from reward.training.losses import centring

log = logging.getLogger(__name__)

CHECKPOINTS = 2  # that are kept: the newest, and the best where there is one


class Steps(Sampler[list[int]]):
    """The pairs of every step of a run, as positions in the training data.

    Each epoch is a permutation drawn from the seed and the epoch; its last step is short where
    `batch_pairs` does not divide `pairs`.
    """

    def __init__(self, pairs: int, batch_pairs: int, epochs: int, seed: int):
        self.pairs, self.batch_pairs, self.epochs, self.seed = pairs, batch_pairs, epochs, seed

    def __len__(self) -> int:
        return self.epochs * math.ceil(self.pairs / self.batch_pairs)

    def __iter__(self) -> Iterator[list[int]]:
        for epoch in range(self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.pairs).tolist()
            for start in range(0, self.pairs, self.batch_pairs):
                yield order[start : start + self.batch_pairs]


class PairTrainer(BaseTrainer):
    """RewardTrainer on groups of two, one optimiser step per batch of the data loader.

    lora: the adapter to train, or None to train every weight; the model's dropout is off.
    steps: which pairs each step takes. groups, gaps: the training pairs and their rating gaps.
    loss: one of reward.training.losses. centring_factor: of its function `centring`. budget: tokens
    that one micro-batch may compute. validation: pairs for model selection; may be empty. curve:
    CSV that gets one row per step while the run goes on.

    The rest goes to RewardTrainer.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: RewardConfig,
        lora: LoraConfig | None,
        steps: Steps,
        groups: Sequence[Group],
        gaps: np.ndarray,
        loss: Callable[[Tensor, Tensor, Tensor], Tensor],
        centring_factor: float,
        budget: int,
        validation: Sequence[Group],
        curve: Path,
        **trl: Any,
    ):
        super().__init__(model=model, args=args, peft_config=lora, **trl)
        self.steps, self.groups, self.gaps = steps, groups, gaps
        self.loss, self.centring_factor, self.budget = loss, centring_factor, budget
        self.validation = validation
        if validation and self.is_fsdp_enabled:
            raise InputError(
                "train.evaluate_steps does not go with FSDP, whose processes must all make the "
                "same passes: set it to 0."
            )
        self._smallest = [min(range(len(groups)), key=lambda i: groups[i].shared_tokens)]
        self._failed = 0
        # Not with FSDP, which keeps gradients elsewhere; on a GPU such sums vary in their order.
        if self.args.device.type == "cpu" and not self.is_fsdp_enabled:
            add_embedding_gradients_in_place(model)
        self.trained_weights = self.get_num_trainable_parameters()
        self.scorer = Scorer(model)  # with the adapter, which peft has put into this very object
        with self.autocast():
            self.scorer.share_prefixes(groups)
        self.add_callback(Progress(curve, len(steps) // steps.epochs))

    def run(self, start: Path | None) -> None:
        """Train to the end, from a checkpoint where there is one, with the budget of its run."""
        if start:
            self.budget = read_budget(start)
        self.train(resume_from_checkpoint=str(start) if start else None)

    def get_train_dataloader(self) -> DataLoader[Any]:
        # One loader for the whole run, the same in every process: each takes its share later.
        return DataLoader(
            range(len(self.groups)),  # type: ignore[arg-type]
            batch_sampler=self.steps,
            collate_fn=list,
        )

    def training_step(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: list[int], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add up the gradient of one batch; returns its mean loss.

        inputs: the batch's pairs, as positions in `groups`; the same in every process.
        """
        model.eval()  # no dropout of any form: the gradient is that of the rewards that are served
        work = self.micro_batches(inputs)
        while (sums := self._accumulate(model, work, len(inputs))) is None:
            work = self._split(work)
            model.zero_grad()
        model.train()
        sums = self.accelerator.reduce(sums, reduction="sum")
        loss, right, margin, reward = (sums / len(inputs)).tolist()
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} at step {self.state.global_step + 1}, from where training "
                f"cannot go on: lower train.learning_rate or train.max_grad_norm."
            )
        self.add_to_log(accuracy=right, margin=margin, mean_reward=reward / 2)
        return sums[0] / len(inputs)

    def micro_batches(self, batch: list[int]) -> list[list[int]]:
        """This process's part of a batch, cut by the token budget.

        An empty micro-batch is one whose pass counts for nothing: every process takes part in the
        exchange of gradients at the batch's end, and with FSDP in that of weights at each pass.
        """
        partition = shares(
            [self.groups[i].shared_tokens for i in batch], self.accelerator.num_processes
        )
        cut = [
            [[batch[share[i]] for i in micro] for micro in self._cut([batch[i] for i in share])]
            for share in partition
        ]
        work = cut[self.accelerator.process_index]
        passes = max(map(len, cut)) if self.is_fsdp_enabled else 1
        idle: list[list[int]] = [[] for _ in range(passes - len(work))]
        return idle + work

    def _cut(self, pairs: list[int]) -> list[list[int]]:
        return self.scorer.micro_batches([self.groups[i] for i in pairs], self.budget)

    def _accumulate(
        self, model: torch.nn.Module, work: list[list[int]], batch: int
    ) -> Tensor | None:
        """Backward over every micro-batch of one batch.

        Returns this process's sums of loss, hits, margins and rewards, shape (4,), or None, with
        `self._failed` the place in `work`, where a micro-batch did not fit into memory.
        """
        sums = torch.zeros(4, device=self.args.device)
        for place, pairs in enumerate(work):
            # Gradients cross processes once, with the last micro-batch; with FSDP each time, as
            # those of all weights would not fit into one process.
            last = place == len(work) - 1 or self.is_fsdp_enabled
            try:
                with nullcontext() if last else self.accelerator.no_sync(model):
                    sums += self._backward(model, pairs, batch)
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if self.accelerator.num_processes > 1 or self.is_fsdp_enabled:
                    # The others have gone on; what they wait for cannot be computed again.
                    raise InputError(
                        f"a micro-batch of {self.budget} tokens does not fit into memory: lower "
                        f"train.micro_batch_tokens."
                    ) from None
                self._failed = place
                return None
        return sums

    def _backward(self, model: torch.nn.Module, pairs: list[int], batch: int) -> Tensor:
        with self.autocast():
            rewards = self.scorer(model, [self.groups[i] for i in pairs or self._smallest])
        chosen, rejected = rewards.view(-1, 2).unbind(1)
        gap = torch.from_numpy(self.gaps[pairs or self._smallest]).to(rewards.device)
        losses = self.loss(chosen, rejected, gap)
        if self.centring_factor:
            losses = losses + self.centring_factor * centring(chosen, rejected)
        # Data-parallel wrappers average over processes what has to be a sum.
        weight = self.accelerator.num_processes / batch if pairs else 0.0
        self.accelerator.backward(losses.sum() * weight)
        with torch.no_grad():
            margins = chosen - rejected
            right = (margins > 0).sum() + (margins == 0).sum() / 2
            sums = torch.stack([losses.sum(), right, margins.sum(), (chosen + rejected).sum()])
            return sums if pairs else torch.zeros_like(sums)

    def _split(self, work: list[list[int]]) -> list[list[int]]:
        """Halve the micro-batch that did not fit, and keep later ones as small.

        The whole batch starts over: a backward pass that was cut off has left part of its
        gradient, which cannot be separated from the others'.
        """
        clear_device_cache(garbage_collection=True)
        pairs = work[self._failed]
        if len(pairs) < 2:
            raise InputError(
                f"a single pair of {self.groups[pairs[0]].shared_tokens} tokens does not fit into "
                f"memory: lower max_length or choose a smaller backbone."
            )
        half = len(pairs) // 2
        parts = [pairs[:half], pairs[half:]]
        self.budget = max(self.scorer.cost([self.groups[i] for i in part]) for part in parts)
        log.warning("Out of memory: micro-batches of %d tokens from now on.", self.budget)
        return [*work[: self._failed], *parts, *work[self._failed + 1 :]]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Log loss and accuracy over the validation pairs, each scored once."""
        with self.autocast():
            rewards = score_everywhere(self.scorer, self.validation, self.budget, None)
        margins = np.array([chosen - rejected for chosen, rejected in rewards], dtype=np.float64)
        metrics = {
            "eval_log_loss": float(np.logaddexp(0, -margins).mean()),
            "eval_accuracy": float(((margins > 0) + (margins == 0) / 2).mean()),
        }
        self.end_evaluation(metrics)
        return metrics

    def checkpoint_written(self, checkpoint: Path) -> None:
        # What made a run stop early is not in its checkpoints, so none may go on from where it did.
        stopped = self.control.should_training_stop
        if not stopped or self.state.global_step == self.state.max_steps:
            mark_complete(checkpoint, self.budget)
            # Only now: a run that is killed while it deletes one finds this one.
            remove_older(checkpoint, CHECKPOINTS, self.best_checkpoint())

    def summary(self) -> dict[str, float]:
        """What metrics/train.json holds; means over the last epoch are of the model as it moved."""
        history = [logs for logs in self.state.log_history if "loss" in logs]
        sizes = [len(batch) for batch in self.steps][: len(history)]
        last = slice(-(len(self.steps) // self.steps.epochs), None)

        def mean(name: str) -> float:
            return float(np.average([logs[name] for logs in history[last]], weights=sizes[last]))

        return {
            "pairs": len(self.groups),
            "steps": len(history),
            "trained_weights": self.trained_weights,  # those of adapters, where these are trained
            "last_epoch_loss": mean("loss"),
            "last_epoch_accuracy": mean("accuracy"),
        }
