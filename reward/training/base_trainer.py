"""TRL's RewardTrainer and transformers' Trainer from the inside, behind methods with plain names.

All that this project takes of them without a promise that it will stay is in this module, and
tests/scoring/test_library_contacts.py names each part.
"""

import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, parse_flag_from_env
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import RewardConfig, RewardTrainer

from reward.harness.errors import InputError
from reward.training.checkpoints import PREFIX
from reward.training.manifest import damage

log = logging.getLogger(__name__)

# What FSDP has to be set to: the value, the one that accelerate takes where there is none, and why.
FSDP = {
    "FSDP_VERSION": ("2", "1", "FSDP1 was not tried"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": ("false", "false", "every process scores before it shards"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("false", "false", "train.activation_checkpointing does that"),
    "FSDP_OFFLOAD_PARAMS": ("false", "false", "it was not tried"),
}


def fsdp_settings() -> dict[str, str]:
    """What the environment says of FSDP where it asks for it, as `accelerate launch` does.

    Empty where it does not. Raises InputError for a setting that does not go with this project.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return {}
    for name, (needed, default, reason) in FSDP.items():
        value = os.environ.get(name, default)
        if value.lower() != needed:
            raise InputError(f"{name} is {value}, and must be {needed}: {reason}.")
    return {name: value for name, value in os.environ.items() if name.startswith("FSDP_")}


class BestCheckpoint(TrainerCallback):
    """Keeps the best checkpoint's path right where a run goes on in a folder that was moved.

    transformers forgets a best checkpoint that is not where it was, and keeps the last model.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.best_global_step:
            best = Path(str(args.output_dir)) / f"{PREFIX}{state.best_global_step}"
            state.best_model_checkpoint = str(best)


class BaseTrainer(RewardTrainer):
    """RewardTrainer on one GPU a process, which sends nothing and prints no line a step."""

    def __init__(self, *, args: RewardConfig, **trl: Any):
        if args.n_gpu > 1:
            # transformers would spread one process over all of them, which TRL refuses.
            log.warning(
                "One of %d GPUs is used: `launcher` in params.yaml can start a process for each.",
                args.n_gpu,
            )
            args._n_gpu = 1
        super().__init__(args=args, **trl)
        self.remove_callback(PrinterCallback)
        self.add_callback(BestCheckpoint())
        self._check_and_set_fsdp()

    def _check_and_set_fsdp(self) -> None:
        kind = self.accelerator.distributed_type
        if parse_flag_from_env("ACCELERATE_USE_FSDP") and kind != DistributedType.FSDP:
            raise InputError(
                f"ACCELERATE_USE_FSDP={os.environ['ACCELERATE_USE_FSDP']} asks for FSDP, which "
                f"accelerate does not do here ({self.accelerator.num_processes} processes on "
                f"{self.args.device.type}): start by a launcher on GPUs, or without FSDP."
            )
        if kind == DistributedType.FSDP and self.args.bf16:
            # Accelerate would add gradients up in bfloat16 as well.
            self.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32
            )

    def _send_telemetry(self) -> None:
        """Nothing is sent: training uses no network."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which rewards are computed, in the number format of `args`."""
        return self.compute_loss_context_manager()

    def add_to_log(self, **values: float) -> None:
        """Put values into the step's line of the log.

        RewardTrainer.log takes a network in training mode for that of a step, any other for one
        that is evaluated, whose lines have other values.
        """
        for name, value in values.items():
            self._metrics["train"][name].append(value)

    def end_evaluation(self, metrics: dict[str, float]) -> None:
        """Log what was measured, and let callbacks decide on it."""
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # Past RewardTrainer's own, which writes a model card into every checkpoint.
        Trainer._save_checkpoint(self, model, trial)
        self.accelerator.wait_for_everyone()  # each process writes a part
        if self.args.should_save:
            folder = Path(str(self.args.output_dir))
            self.checkpoint_written(folder / f"{PREFIX}{self.state.global_step}")

    def checkpoint_written(self, checkpoint: Path) -> None:
        """Called in one process when all files of a checkpoint are there."""

    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best evaluation so far, where there was one."""
        best = self.state.best_model_checkpoint
        return Path(best) if best else None

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint))
        if wrong := damage(best):
            raise InputError(
                f"{best}, the checkpoint with the best evaluation, cannot be used: {wrong}; run "
                f"again, which goes on from one that can."
            )
        super()._load_best_model()

    def gathered_weights(self) -> dict[str, torch.Tensor]:
        """With FSDP: all weights, on the CPU, in the process that saves; every one takes part."""
        return self.accelerator.get_state_dict(self.model)
