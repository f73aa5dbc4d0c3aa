"""`train` and `report_to` of params.yaml, and what RewardTrainer gets by them."""

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from transformers import EarlyStoppingCallback, TrainerCallback
from trl import RewardConfig

from reward.harness.params import Params, Seed
from reward.scoring.devices import TokenBudget, precision
from reward.training.objective import Weighting
from reward.training.trackers import experiment, tracker_callbacks


class Train(Params):
    """The section `train` of params.yaml, where each value is explained."""

    epochs: PositiveInt
    batch_pairs: PositiveInt
    micro_batch_tokens: TokenBudget
    learning_rate: PositiveFloat | None
    seed: Seed | None
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["linear", "cosine", "constant_with_warmup"]
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    activation_checkpointing: bool
    loss: Literal["bradley-terry", "margin", "scaled", "soft", "plackett-luce"]
    weighting: Weighting
    centring: NonNegativeFloat
    checkpoint_steps: PositiveInt
    evaluate_steps: NonNegativeInt
    patience: NonNegativeInt
    normalise_pairs: PositiveInt

    @model_validator(mode="after")
    def patience_needs_evaluations(self) -> Self:
        if self.patience and not self.evaluate_steps:
            raise ValueError(
                "patience counts evaluations, which evaluate_steps=0 turns off; set either"
            )
        return self


Tracker = Literal["tensorboard", "wandb", "mlflow", "dvclive"]


def _as_list(value: Any) -> Any:
    if value == "none":
        return []
    return [value] if isinstance(value, str) else value


def _all_installed(names: list[Tracker]) -> list[Tracker]:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} must be installed for that; run "
            f"`pip install {' '.join(missing)}`, or set report_to to none"
        )
    return names


Trackers = Annotated[list[Tracker], BeforeValidator(_as_list), AfterValidator(_all_installed)]
"""`report_to` of params.yaml: none, one tracker or a list of them; all are installed here."""


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
