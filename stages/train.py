"""Fit the reward model to the training pairs."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from datasets import Dataset
from peft import PeftModel
from pydantic import Field, model_validator
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase
from transformers import logging as transformers_logging
from trl import RewardConfig

from reward.batching import read_groups, read_rating_gaps
from reward.carried import carry
from reward.catalogue import Backbone
from reward.checkpoints import checkpoint_folder, latest
from reward.devices import TokenBudget, best_device, precision
from reward.losses import LOSSES, check_gaps
from reward.network import build_network, lora_config
from reward.stage import Params, Seed, pick, remove, run, whole, write_json
from reward.tokenizer import open_tokenizer, save_tokenizer
from reward.training import PairTrainer, Steps

Positive = Annotated[int, Field(gt=0)]


class Train(Params):
    """The `train` section of params.yaml, where each value is explained."""

    epochs: Positive
    batch_pairs: Positive
    micro_batch_tokens: TokenBudget
    learning_rate: Annotated[float, Field(gt=0)] | None
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["linear", "cosine", "constant_with_warmup"]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    loss: Literal["bradley-terry", "margin", "scaled"]
    centring: Annotated[float, Field(ge=0)]
    checkpoint_steps: Positive
    evaluate_steps: Annotated[int, Field(ge=0)]
    patience: Annotated[int, Field(ge=0)]
    normalise_pairs: Positive

    @model_validator(mode="after")
    def patience_needs_looks(self) -> Self:
        if self.patience and not self.evaluate_steps:
            raise ValueError("patience counts looks, which evaluate_steps=0 turns off; set either")
        return self


class TrainParams(Params):
    """What train reads of params.yaml."""

    seed: Seed
    backbone: str
    backbones: dict[str, Backbone]
    train: Train


def train(
    params: TrainParams, tokens: Path, backbone: Path, model: Path, metrics: Path, curve: Path
) -> None:
    """Fit the reward model to the training pairs.

    tokens, backbone: folders that tokenize and download wrote. model: the folder for the fitted
    model, a sequence classifier of one label with its tokenizer. metrics: a JSON file; the same
    inputs give the same bytes. curve: a CSV with one row per optimiser step.

    Raises InputError where ratings are missing that the loss needs, where the loss stops being
    finite and where one pair does not fit into memory; no model is left then.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    state, device = PartialState(), best_device()
    settings, entry = params.train, pick(params.backbones, "backbone", params.backbone)
    numbers = precision(device)
    table = pq.read_table(tokens / "train.parquet")
    groups, gaps = read_groups(table), read_rating_gaps(table)
    check_gaps(settings.loss, gaps)
    validation = []
    if settings.evaluate_steps:
        validation = read_groups(pq.read_table(tokens / "validation.parquet"))
    records = Dataset(table.select(["chosen_ids", "rejected_ids"]))
    steps = Steps(len(groups), settings.batch_pairs, settings.epochs, params.seed)
    checkpoints = checkpoint_folder(params, [tokens, backbone], device, state.num_processes)
    dtype = numbers.frozen if entry.lora else numbers.trained
    network, tokenizer = build_network(backbone, params.seed, dtype), open_tokenizer(backbone)
    trainer = PairTrainer(
        steps=steps,
        groups=groups,
        gaps=gaps,
        loss=LOSSES[settings.loss],
        centring_factor=settings.centring,
        budget=settings.micro_batch_tokens.on(device),
        validation=validation,
        curve=curve,
        model=network,
        args=_arguments(params, entry, device, len(steps), checkpoints),
        train_dataset=records,
        eval_dataset=records if settings.evaluate_steps else None,  # PairTrainer has its own
        processing_class=tokenizer,
        lora=lora_config(entry.lora, network) if entry.lora else None,
        callbacks=[EarlyStoppingCallback(settings.patience)] if settings.patience else None,
    )
    trained = trainer.get_num_trainable_parameters()
    start = latest(checkpoints)
    if start and state.is_main_process:
        print(f"train: a run that was cut off goes on from its {start.name}", file=sys.stderr)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    with whole(model) if state.is_main_process else nullcontext(model) as folder:
        _save(trainer, tokenizer, folder)
        if state.is_main_process:
            known, pairs = table.schema.metadata, settings.normalise_pairs
            carry(folder, known, groups, pairs=pairs, seed=params.seed, budget=trainer.budget)
    if state.is_main_process:
        write_json(metrics, _summary(trainer, len(groups), trained))
        remove(checkpoints)


def _arguments(
    params: TrainParams, entry: Backbone, device: torch.device, steps: int, checkpoints: Path
) -> RewardConfig:
    settings, numbers = params.train, precision(device)
    selects = settings.evaluate_steps > 0
    return RewardConfig(
        output_dir=str(checkpoints),
        seed=params.seed,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_pairs,
        learning_rate=settings.learning_rate or entry.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        max_length=None,  # tokenize has truncated; a second filter would drop pairs unseen
        activation_checkpointing=False,
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


def _save(trainer: PairTrainer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a standard checkpoint: one model without adapters, and its tokenizer."""
    sharded = trainer.is_fsdp_enabled  # each process has a part of the weights
    if not (sharded or trainer.args.should_save):
        return
    if isinstance(trainer.model, PeftModel):
        # float32, in which no update is rounded away, may not fit where 16 bits were trained.
        adapted = trainer.model if sharded else trainer.model.cpu()
        trainer.model = adapted.float().merge_and_unload()
    trainer.save_model(str(folder))
    if trainer.args.should_save:
        save_tokenizer(tokenizer, folder)
        (folder / "training_args.bin").unlink()  # a pickle, and of no use to a user


def _summary(trainer: PairTrainer, pairs: int, trained: int) -> dict[str, float]:
    """What metrics/train.json holds; means over the last epoch are of the model while it moved."""
    history = [logs for logs in trainer.state.log_history if "loss" in logs]
    sizes = [len(batch) for batch in trainer.steps][: len(history)]
    last = slice(-(len(trainer.steps) // trainer.steps.epochs), None)

    def mean(name: str) -> float:
        return float(np.average([logs[name] for logs in history[last]], weights=sizes[last]))

    return {
        "pairs": pairs,
        "steps": len(history),
        "trained_weights": trained,  # counted before adapters were merged
        "last_epoch_loss": mean("loss"),
        "last_epoch_accuracy": mean("accuracy"),
    }


if __name__ == "__main__":
    run(train, TrainParams)
