"""Fit the reward model to the training pairs."""

from reward.harness.stage import run

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from accelerate.utils.memory import clear_device_cache
from datasets import Dataset

from reward.harness.files import check_output, replacing
from reward.harness.params import Params, Seconds, Seed, pick
from reward.harness.results import write_metrics
from reward.harness.tables import read_notes, read_table
from reward.scoring.border import Border
from reward.scoring.comparisons import NONE, read_comparisons, read_rating_gaps
from reward.scoring.devices import best_device, precision
from reward.scoring.layers import compute_again_in_backward
from reward.scoring.processes import joined_processes
from reward.scoring.quiet import quiet_transformers
from reward.scoring.states import Store
from reward.sources.backbones import Backbone, base_model
from reward.tokens.records import CHAT_TEMPLATE, Token, TokenSettings
from reward.training.base_trainer import fsdp_settings
from reward.training.checkpoints import (
    checkpoint_folder,
    discard,
    latest,
    only_run,
    remove_newer,
    remove_unused,
)
from reward.training.losses import LOSSES, check_gaps
from reward.training.model_folder import open_tokenizer, save_trained
from reward.training.network import build_network, lora_config
from reward.training.normalisation import normalise
from reward.training.objective import Objective
from reward.training.options import trainer_arguments, trainer_callbacks
from reward.training.settings import Trackers, Train
from reward.training.steps import Steps
from reward.training.trainer import PairTrainer


class TrainParams(Params):
    """What train reads of params.yaml."""

    seed: Seed
    backbone: str
    backbones: dict[str, Backbone]
    process_timeout: Seconds
    report_to: Trackers
    train: Train


def train(
    params: TrainParams,
    tokens: Path,
    backbone: Path,
    states: Path,
    model: Path,
    metrics: Path,
    curve: Path,
) -> None:
    """Fit the reward model to the training pairs.

    tokens: folder that tokenize wrote. backbone: folder that download wrote. states: folder of the
    stage states. model: folder for the model, a sequence classifier of one label with its
    tokenizer. metrics: JSON file for the headline figures. curve: CSV file, a row per step.

    Raises InputError where ratings are missing that the loss needs, where the loss stops being
    finite, where one pair does not fit into memory, where another run of the same values goes on
    and where another process is lost; no model is left then.
    """
    for output in (model, metrics, curve):
        check_output(output)
    quiet_transformers()
    device = best_device()
    with joined_processes(device, params.process_timeout) as state:
        checkpoints = _checkpoints(params, state, device, [tokens, backbone])
        with only_run(checkpoints) if state.is_main_process else nullcontext():
            folders = (checkpoints, tokens, backbone, states, model)
            _train(params, state, device, *folders, metrics, curve)


def _checkpoints(
    params: TrainParams, state: PartialState, device: torch.device, inputs: Sequence[Path]
) -> Path:
    entry = pick(params.backbones, "backbone", params.backbone)
    return checkpoint_folder(
        # The entries of other backbones may change while a killed run waits to go on.
        params.model_dump(exclude={"backbones", "process_timeout", "report_to"})
        | {"backbone": entry.model_dump(), "fsdp": fsdp_settings()},
        inputs,
        device,
        state.num_processes,
    )


def _train(
    params: TrainParams,
    state: PartialState,
    device: torch.device,
    checkpoints: Path,
    tokens: Path,
    backbone: Path,
    states: Path,
    model: Path,
    metrics: Path,
    curve: Path,
) -> None:
    settings, entry = params.train, pick(params.backbones, "backbone", params.backbone)
    table = read_table(tokens / "train.parquet")
    training, gaps = read_comparisons(table), read_rating_gaps(table)
    check_gaps(settings.loss, gaps)
    selects = settings.evaluate_steps > 0
    validation = read_comparisons(read_table(tokens / "validation.parquet")) if selects else NONE
    store = Store.open(states)
    records = Dataset(table.select([Token.CHOSEN_IDS, Token.REJECTED_IDS]))
    seed = params.seed if settings.seed is None else settings.seed
    steps = Steps(training.sizes.tolist(), settings.batch_pairs, settings.epochs, seed)
    adapter_of = base_model(backbone) if entry.lora and entry.lora.save_adapter else None
    dtype = precision(device).frozen if entry.lora else precision(device).trained
    network = build_network(backbone, seed, dtype, entry.layers)
    template = read_notes(tokens / "train.parquet").get(CHAT_TEMPLATE)
    tokenizer, border, lora = open_tokenizer(backbone, template), None, entry.lora
    if entry.trained_layers != "all":
        border = Border(network, entry.trained_layers)
        border.freeze()
        lora = entry.lora if border.above else None  # there is no layer for an adapter
    if settings.activation_checkpointing:
        compute_again_in_backward(network)
    trainer = PairTrainer(
        steps=steps,
        objective=Objective(
            training,
            gaps,
            LOSSES[settings.loss],
            centring_factor=settings.centring,
            weighting=settings.weighting,
        ),
        store=store,
        budget=settings.micro_batch_tokens.on(device.type),
        validation=validation,
        curve=curve,
        model=network,
        args=trainer_arguments(
            settings,
            seed=seed,
            learning_rate=entry.learning_rate,
            device=device,
            steps=len(steps),
            checkpoints=checkpoints,
        ),
        train_dataset=records,
        eval_dataset=records if selects else None,  # PairTrainer has its own
        processing_class=tokenizer,
        lora=lora_config(lora, network, border) if lora else None,
        callbacks=trainer_callbacks(settings, params.report_to if state.is_main_process else []),
    )
    trainer.run(_start(state, checkpoints))
    budget, summary = trainer.gradient.budget, trainer.summary()
    with replacing(model) if state.is_main_process else nullcontext(model) as folder:
        save_trained(trainer, tokenizer, folder, adapter_of)
        del trainer, network  # and the optimiser's states: the saved model takes their place
        clear_device_cache(garbage_collection=True)
        if state.is_main_process:
            normalise(
                folder,
                TokenSettings.of(table.schema),
                training,
                store=store,
                pairs=settings.normalise_pairs,
                seed=seed,
                budget=budget,
            )
    if state.is_main_process:
        write_metrics(metrics, summary)
        discard(checkpoints)


def _start(state: PartialState, checkpoints: Path) -> Path | None:
    """The checkpoint that this run goes on from, if any. One process decides for all."""
    start = None
    if state.is_main_process:
        remove_unused(checkpoints)
        start = latest(checkpoints)
        remove_newer(checkpoints, start)
        if start:
            print(f"train: a run that was cut off goes on from its {start.name}", file=sys.stderr)
    return broadcast_object_list([start])[0]


if __name__ == "__main__":
    run(train, TrainParams, again="run it again, it goes on from its last checkpoint")
