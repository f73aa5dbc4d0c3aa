"""TRL's RewardTrainer and transformers' Trainer from the inside, behind methods with plain names.

All that this project takes of them without a promise that it will stay is in this module, and
tests/scoring/test_library_contacts.py names each part.
"""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import rotate_checkpoints
from trl import RewardConfig, RewardTrainer

log = logging.getLogger(__name__)


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
        if self.args.should_save:
            folder = Path(str(self.args.output_dir))
            self.checkpoint_written(folder / f"checkpoint-{self.state.global_step}")

    def checkpoint_written(self, checkpoint: Path) -> None:
        """Called in one process when all files of a checkpoint are there."""

    def remove_checkpoints(self, keep: int) -> None:
        """Remove all checkpoints but the newest `keep`, the best always being one of these."""
        rotate_checkpoints(str(self.args.output_dir), keep, self.state.best_model_checkpoint)

    def save_weights(self, folder: Path) -> None:
        """Write the model's configuration and weights; every process takes part."""
        self.save_model(str(folder))
        if self.args.should_save:
            (folder / TRAINING_ARGS_NAME).unlink()  # a pickle, and of no use to a user
