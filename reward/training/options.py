"""The section `train` of params.yaml, and the arguments that RewardTrainer gets by it."""

from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from trl import RewardConfig

from reward.harness.params import Params, Seed
from reward.scoring.devices import TokenBudget, precision
from reward.training.objective import Weighting


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
        report_to="none",
        save_steps=settings.evaluate_steps or settings.checkpoint_steps,
        eval_strategy="steps" if selects else "no",
        eval_steps=settings.evaluate_steps or None,
        load_best_model_at_end=selects,
        metric_for_best_model="eval_log_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
    )
