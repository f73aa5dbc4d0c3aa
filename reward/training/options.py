"""What RewardTrainer gets by `train` and `report_to` of params.yaml."""

from collections.abc import Collection
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback, TrainerCallback
from trl import RewardConfig

from reward.scoring.devices import precision
from reward.training.settings import Tracker, Train
from reward.training.trackers import experiment, tracker_callbacks


def trainer_arguments(
    settings: Train,
    *,
    seed: int,
    learning_rate: float,
    device: torch.device,
    steps: int,
    checkpoints: Path,
) -> RewardConfig:
    """The arguments of a run of `steps` optimiser steps.

    learning_rate: of the backbone's entry, taken where the settings have none.
    """
    numbers, selects = precision(device), settings.evaluate_steps > 0
    return RewardConfig(
        output_dir=str(checkpoints),
        seed=seed,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_pairs,
        learning_rate=settings.learning_rate or learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        max_length=None,  # tokenize has truncated; a second filter would drop pairs unseen
        activation_checkpointing=False,  # reward.scoring.layers has one that knows of layouts
        use_cpu=device.type == "cpu",
        bf16=numbers.autocast == torch.bfloat16,
        fp16=numbers.autocast == torch.float16,
        dataloader_pin_memory=device.type == "cuda",
        torch_empty_cache_steps=1 if device.type == "mps" else None,
        ddp_find_unused_parameters=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",  # see trainer_callbacks
        run_name=experiment(),
        save_steps=settings.evaluate_steps or settings.checkpoint_steps,
        eval_strategy="steps" if selects else "no",
        eval_steps=settings.evaluate_steps or None,
        load_best_model_at_end=selects,
        metric_for_best_model="eval_log_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
    )


def trainer_callbacks(settings: Train, trackers: Collection[Tracker]) -> list[TrainerCallback]:
    """What follows the run: the trackers, and what may end it early."""
    early = [EarlyStoppingCallback(settings.patience)] if settings.patience else []
    return [*tracker_callbacks(trackers), *early]
