"""reward/training/trackers.py: where trackers write, and that nothing is sent."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerCallback

from reward.training import trackers
from reward.training.trackers import tracker_callbacks

VARIABLES = (
    "TENSORBOARD_LOGGING_DIR",
    "WANDB_MODE",
    "WANDB_ERROR_REPORTING",
    "WANDB_DIR",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_DISABLE_TELEMETRY",
    "DVC_NO_ANALYTICS",
)


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables is set, before and after; an experiment elsewhere; callbacks of none of
    the libraries, which need not be installed.
    """
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is as it was in the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DVC_EXP_NAME", "slower-2")
    for name in ("TensorBoard", "Wandb", "MLflow"):
        monkeypatch.setattr(trackers, f"{name}Callback", TrainerCallback)


def test_all_is_written_below_logs_and_nothing_is_sent(tmp_path: Path) -> None:
    assert len(tracker_callbacks(["tensorboard", "wandb", "mlflow"])) == 3
    found = {name: os.environ.get(name) for name in VARIABLES}
    board = Path(str(found.pop("TENSORBOARD_LOGGING_DIR")))
    assert board.parent == tmp_path / "logs/tensorboard"
    assert board.name.startswith("slower-2-")
    assert found == {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DIR": str(tmp_path / "logs"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/logs/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": None,
    }


def test_what_users_have_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_MODE", "online")
    tracker_callbacks(["mlflow", "wandb"])
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9"
    assert os.environ["WANDB_MODE"] == "online"


def test_dvclive_touches_neither_dvc_yaml_nor_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    library = SimpleNamespace(Live=lambda *where, **how: made.append((where, how)))
    monkeypatch.setitem(sys.modules, "dvclive", library)
    monkeypatch.setattr(trackers, "DVCLiveCallback", lambda live: TrainerCallback())
    tracker_callbacks(["dvclive"])
    [([folder], how)] = made
    assert Path(folder).parent == tmp_path / "logs/dvclive"
    assert how == {"save_dvc_exp": False, "dvcyaml": None}


def test_without_trackers_there_is_no_trace(tmp_path: Path) -> None:
    assert tracker_callbacks([]) == []
    assert not (tmp_path / "logs").exists()
