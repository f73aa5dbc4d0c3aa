"""Compute once what the layers of a backbone give that are not trained."""

from reward.harness.stage import run

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reward.evaluation.depths import accuracy_by_depth
from reward.harness.errors import InputError
from reward.harness.files import check_output, replacing, write_json
from reward.harness.params import Params, Seconds, pick
from reward.harness.tables import read_table
from reward.scoring.comparisons import Comparisons, read_comparisons
from reward.scoring.devices import best_device, keep_freed_memory, precision
from reward.scoring.processes import joined_processes
from reward.scoring.quiet import quiet_transformers
from reward.scoring.states import SETTINGS
from reward.sources.backbones import Backbone, weights_folder
from reward.training.frozen import write_frozen
from reward.training.network import build_network
from reward.training.settings import States


class StatesParams(Params):
    """What states reads of params.yaml."""

    backbone: str
    backbones: dict[str, Backbone]
    process_timeout: Seconds
    states: States


def states(params: StatesParams, tokens: Path, backbone: Path, states: Path, depths: Path) -> None:
    """Compute once what the layers of a backbone give that are not trained.

    tokens: folder that tokenize wrote. backbone: folder that download wrote. states: folder for
    what those layers give for every pair, which train and evaluate read. depths: JSON file that
    says, where the head alone is trained, how good a head would be after each of several depths.

    The states are those of the training and the validation pairs (reward.scoring.states); a head is
    measured on training pairs that it has not learned from. Both outputs say nothing where all
    layers are trained.

    Raises InputError where the states would take more room than they may or than there is, where
    nobody has trained the layers that stay as they are, and where another process is lost.
    """
    for output in (states, depths):
        check_output(output)
    entry = pick(params.backbones, "backbone", params.backbone)
    device = best_device()
    with joined_processes(device, params.process_timeout) as state:
        if entry.trained_layers == "all":
            if state.is_main_process:
                _write_nothing(states, depths)
            return
        if weights_folder(backbone) is None:
            raise InputError(
                f"trained_layers={entry.trained_layers} keeps the other layers as they are, and "
                f"the backbone {params.backbone} has no weights: set it to all, or choose another "
                f"backbone."
            )
        sets = {
            name: read_comparisons(read_table(tokens / f"{name}.parquet"))
            for name in ("train", "validation")
        }
        with replacing(states) if state.is_main_process else nullcontext(states) as folder:
            tried, features = _compute(params.states, entry, backbone, device, sets, folder)
        if state.is_main_process:
            write_json(depths, _depths(params.states, tried, features, sets))


def _write_nothing(states: Path, depths: Path) -> None:
    with replacing(states) as folder:
        folder.mkdir()
        write_json(folder / SETTINGS, {})
    write_json(depths, {"depths": []})


def _compute(
    settings: States,
    entry: Backbone,
    backbone: Path,
    device: torch.device,
    sets: dict[str, Comparisons],
    folder: Path,
) -> tuple[list[int], np.ndarray]:
    keep_freed_memory()
    quiet_transformers()
    # As train computes them: in the format of its weights.
    numbers = precision(device)
    dtype = numbers.frozen if entry.lora else numbers.trained
    network = build_network(backbone, 0, dtype, entry.layers).eval()
    network.to(device)
    with torch.autocast(device.type, numbers.autocast, enabled=numbers.autocast is not None):
        return write_frozen(
            network,
            int(entry.trained_layers),
            sets,
            folder,
            budget=settings.micro_batch_tokens.on(device.type),
            most_bytes=settings.most_gigabytes * 1e9,
            depths=settings.depths,
        )


def _depths(
    settings: States,
    tried: list[int],
    features: np.ndarray,
    sets: dict[str, Comparisons],
) -> dict[str, Any]:
    """What the JSON file holds: what a head alone would get after each of the depths tried."""
    training = sets["train"]
    if not tried or len(np.unique(training.prompts)) < settings.folds:
        return {"depths": []}
    pairs, sides = training.among(range(len(training.groups)))
    found = accuracy_by_depth(
        features,
        sides,
        training.prompts[pairs],
        depths=tried,
        folds=settings.folds,
        strength=settings.head_strength,
        confidence=settings.confidence,
    )
    return {"folds": settings.folds, "depths": found}


if __name__ == "__main__":
    run(states, StatesParams)
