"""Experiment trackers, which may get the course of training beside the curve.

Each gets what its own callback in transformers gives it. None of them is one of this project's
libraries. Their own environment variables say where they write; those that are not set are set
here, so that all of it stays below logs/ and nothing leaves the machine.
"""

import importlib
import os
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations import (
    DVCLiveCallback,
    MLflowCallback,
    TensorBoardCallback,
    WandbCallback,
)

FOLDER = "logs"  # which git ignores


def experiment() -> str | None:
    """The name of the experiment of DVC that this process is in, None outside of one."""
    return os.environ.get("DVC_EXP_NAME")


def tracker_callbacks(names: Collection[str]) -> list[TrainerCallback]:
    """Callbacks that give the values of each step to the trackers of these names.

    For one process of several. What they write is below the main checkout even when an experiment
    runs in a temporary one.
    """
    logs = Path(os.environ.get("DVC_ROOT", ".")).resolve() / FOLDER
    run = f"{experiment() or 'run'}-{datetime.now():%Y%m%d-%H%M%S}"
    return [TRACKERS[name](logs, run) for name in names]


def _tensorboard(logs: Path, run: str) -> TrainerCallback:
    _set_unless_set(TENSORBOARD_LOGGING_DIR=str(logs / "tensorboard" / run))
    return TensorBoardCallback()


def _wandb(logs: Path, run: str) -> TrainerCallback:
    logs.mkdir(exist_ok=True)  # or wandb takes another folder
    _set_unless_set(WANDB_MODE="offline", WANDB_ERROR_REPORTING="false", WANDB_DIR=str(logs))
    return WandbCallback()


def _mlflow(logs: Path, run: str) -> TrainerCallback:
    logs.mkdir(exist_ok=True)
    database = f"sqlite:///{logs / 'mlflow.db'}"
    _set_unless_set(MLFLOW_TRACKING_URI=database, MLFLOW_DISABLE_TELEMETRY="true")
    return MLflowCallback()


def _dvclive(logs: Path, run: str) -> TrainerCallback:
    _set_unless_set(DVC_NO_ANALYTICS="true")
    # By itself it would write into dvc.yaml and save an experiment of its own.
    live = importlib.import_module("dvclive").Live(
        str(logs / "dvclive" / run), save_dvc_exp=False, dvcyaml=None
    )
    return DVCLiveCallback(live)


def _set_unless_set(**variables: str) -> None:
    for name, value in variables.items():
        os.environ.setdefault(name, value)


TRACKERS: dict[str, Callable[[Path, str], TrainerCallback]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "dvclive": _dvclive,
}
