"""The optimiser's step: TRL's RewardTrainer with an inner loop that pays for no token twice."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from trl import RewardConfig

from reward.harness.errors import InputError
from reward.scoring.comparisons import NONE, Comparisons
from reward.scoring.layers import add_embedding_gradients_in_place
from reward.scoring.scorer import Scorer, score_everywhere
from reward.scoring.states import Store
from reward.training.base_trainer import BaseTrainer
from reward.training.checkpoints import mark_complete, read_budget, remove_older
from reward.training.curve import Progress
from reward.training.gradient import BatchGradient
from reward.training.objective import Objective
from reward.training.steps import Steps

log = logging.getLogger(__name__)

CHECKPOINTS = 2  # that are kept: the newest, and the best where there is one


class PairTrainer(BaseTrainer):
    """RewardTrainer on groups of answers, one optimiser step per batch of the data loader.

    lora: the adapter to train, or None to train every weight; the model's dropout is off.
    store: where only the upper layers are trained, what the lower ones give; or None.
    steps: which groups each step takes. objective: the training pairs and their loss. budget:
    tokens that one micro-batch may compute. validation: pairs for model selection; may be none.
    curve: CSV that gets one row per step while the run goes on.

    The rest goes to RewardTrainer.
    """

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: RewardConfig,
        lora: LoraConfig | None,
        store: Store | None = None,
        steps: Steps,
        objective: Objective,
        budget: int,
        validation: Comparisons,
        curve: Path,
        **trl: Any,
    ):
        super().__init__(model=model, args=args, peft_config=lora, **trl)
        self.steps, self.pair_objective, self.validation = steps, objective, validation
        if validation.groups and self.is_fsdp_enabled:
            raise InputError(
                "train.evaluate_steps does not go with FSDP, whose processes must all make the "
                "same passes: set it to 0."
            )
        if store and store.states.trained_layers == 0 and self.is_fsdp_enabled:
            # It exchanges the gradients of what is below the head's inputs, and there are none.
            raise InputError(
                "trained_layers=0 does not go with FSDP, as a head is too small to be sharded: "
                "start train by another `launcher`."
            )
        # Not with FSDP, which keeps gradients elsewhere; on a GPU such sums vary in their order.
        if self.args.device.type == "cpu" and not self.is_fsdp_enabled:
            add_embedding_gradients_in_place(model)
        self.trained_weights = self.get_num_trainable_parameters()
        self.scorer = Scorer(model)  # with the adapter, which peft has put into this very object
        with self.autocast():
            self.scorer.share_prefixes(objective.compared.groups)
            if store and store.states.weights != str(model.dtype):
                # Adapters let the base be of another format on a GPU.
                log.warning(
                    "The stored states are not used, as they are of weights in %s: run dvc repro "
                    "--force states.",
                    store.states.weights,
                )
            elif store:
                sets = {"train": objective.compared, "validation": validation}
                sets = {name: pairs for name, pairs in sets.items() if pairs.groups}
                found = store.put_into(self.scorer, sets)
                objective.compared, self.validation = found["train"], found.get("validation", NONE)
        self.gradient = BatchGradient(
            objective,
            self.scorer,
            self.accelerator,
            budget=budget,
            autocast=self.autocast,
            sharded=self.is_fsdp_enabled,
        )
        self.add_callback(Progress(curve, len(steps) / len(steps.per_epoch)))

    def run(self, start: Path | None) -> None:
        """Train to the end, from a checkpoint where there is one, with the budget of its run."""
        if start:
            self.gradient.budget = read_budget(start)
        self.train(resume_from_checkpoint=str(start) if start else None)

    def get_train_dataloader(self) -> DataLoader[Any]:
        # One loader for the whole run, the same in every process: each takes its share later.
        return DataLoader(
            range(len(self.pair_objective.compared.groups)),  # type: ignore[arg-type]
            batch_sampler=self.steps,
            collate_fn=list,
        )

    def training_step(  # type: ignore[override]
        self, model: torch.nn.Module, inputs: list[int], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add up the gradient of one batch; returns its mean loss.

        inputs: the batch's groups, as positions in the training data; the same in every process.
        """
        model.eval()  # no dropout of any form: the gradient is that of the rewards that are served
        means = self.gradient.add(model, inputs)
        model.train()
        loss, right, margin, reward = means.tolist()
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} at step {self.state.global_step + 1}, from where training "
                f"cannot go on: lower train.learning_rate or train.max_grad_norm."
            )
        self.add_to_log(accuracy=right, margin=margin, mean_reward=reward / 2)
        return means[0]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Log loss and accuracy over the validation pairs, each answer scored once."""
        groups, budget = self.validation.groups, self.gradient.budget
        with self.autocast():
            rewards = score_everywhere(self.scorer, groups, budget, None)
        chosen, rejected = self.validation.of_pairs(rewards).T
        margins = (chosen - rejected).astype(np.float64)
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
            mark_complete(checkpoint, self.gradient.budget)
            # Only now: a run that is killed while it deletes one finds this one.
            remove_older(checkpoint, CHECKPOINTS, self.best_checkpoint())

    def summary(self) -> dict[str, float]:
        """What metrics/train.json holds; means over the last epoch are of the model as it moved."""
        history = [logs for logs in self.state.log_history if "loss" in logs]
        weights = [self.pair_objective.weight(batch) for batch in self.steps][: len(history)]
        last = slice(-self.steps.per_epoch[-1], None)

        def mean(name: str) -> float:
            return float(np.average([logs[name] for logs in history[last]], weights=weights[last]))

        return {
            "pairs": len(self.pair_objective.compared.pairs),
            "steps": len(history),
            "trained_weights": self.trained_weights,  # those of adapters, where these are trained
            "last_epoch_loss": mean("loss"),
            "last_epoch_accuracy": mean("accuracy"),
        }
