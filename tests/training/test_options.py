"""reward/training/options.py: combinations that cannot work, and what RewardTrainer gets."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from pydantic import TypeAdapter, ValidationError

from reward.training import settings
from reward.training.options import trainer_arguments
from reward.training.settings import Tracker, Trackers, Train
from reward.training.trackers import TRACKERS

PROJECT = Path(__file__).parents[2]
VALUES: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())["train"]


def test_patience_without_evaluations_is_refused() -> None:
    with pytest.raises(ValidationError, match="patience counts evaluations, which evaluate_steps="):
        Train.model_validate(VALUES | {"patience": 3})


@pytest.mark.parametrize(("rate", "expected"), [(None, 1e-3), ("1e-05", 1e-5)])
def test_the_backbones_learning_rate_is_taken_where_there_is_no_other(
    tmp_path: Path, rate: Any, expected: float
) -> None:
    settings = Train.model_validate(VALUES | {"learning_rate": rate, "evaluate_steps": 7})
    arguments = trainer_arguments(
        settings,
        seed=1,
        learning_rate=1e-3,
        device=torch.device("cpu"),
        steps=9,
        checkpoints=tmp_path,
    )
    assert arguments.learning_rate == expected
    assert (arguments.max_steps, arguments.save_steps, arguments.eval_steps) == (9, 7, 7)
    assert arguments.load_best_model_at_end
    assert not arguments.bf16
    assert not arguments.fp16


def report_to(value: Any) -> list[Tracker]:
    return TypeAdapter(Trackers).validate_python(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("none", []),
        ([], []),
        ("tensorboard", ["tensorboard"]),
        (["wandb", "dvclive"], ["wandb", "dvclive"]),
    ],
)
def test_report_to_is_none_a_tracker_or_several(
    value: Any, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: name)
    assert report_to(value) == expected


@pytest.mark.parametrize("value", ["tensorbord", ["none"], None, ["tensorboard", 1]])
def test_report_to_takes_nothing_else(value: Any) -> None:
    with pytest.raises(ValidationError):
        report_to(value)


def test_trackers_that_are_not_installed_name_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None if name != "wandb" else name)
    with pytest.raises(ValidationError, match="run `pip install mlflow dvclive`, or set report_to"):
        report_to(["mlflow", "wandb", "dvclive"])


def test_every_tracker_has_a_callback() -> None:
    assert set(get_args(Tracker)) == set(TRACKERS)
