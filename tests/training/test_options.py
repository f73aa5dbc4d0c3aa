"""reward/training/options.py: combinations that cannot work, and what RewardTrainer gets."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from reward.training.options import Train, trainer_arguments

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
