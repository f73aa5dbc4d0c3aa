"""reward/training/curve.py: a row per step and evaluation, in five digits, all finite."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from reward.training import curve as curve_module
from reward.training.curve import Progress
from tests.support.networks import SHARED, random_groups, random_network
from tests.support.trainers import make_trainer


def test_curve_has_a_row_per_step(tmp_path: Path) -> None:
    groups = random_groups((2,) * 10)
    trainer = make_trainer(
        tmp_path,
        random_network(SHARED["gpt2"]),
        groups,
        batch_pairs=4,
        epochs=2,
        eval_strategy="steps",
        eval_steps=3,
    )
    trainer.train()
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    train = [row for row in rows if row["split"] == "train"]
    assert [int(row["step"]) for row in train] == [1, 2, 3, 4, 5, 6]
    assert [float(row["epoch"]) for row in train] == pytest.approx(
        [1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2],
        rel=1e-4,  # five digits
    )
    assert [int(row["step"]) for row in rows if row["split"] == "validation"] == [3, 6]
    # The last evaluation again: scored by the trained network as it is now.
    margins = np.array(
        [chosen - rejected for chosen, rejected in trainer.scorer.score(groups[:4], 10**6, None)]
    )
    assert float(rows[-1]["loss"]) == pytest.approx(np.log1p(np.exp(-margins)).mean(), rel=1e-4)
    assert float(rows[-1]["accuracy"]) == np.mean(margins > 0)


STEP = {
    "loss": 0.123456789,
    "accuracy": 0.5,
    "margin": -1234.5678,
    "learning_rate": 1e-5 / 3,
    "grad_norm": 2.0,
}
HEADER = "step,epoch,split,loss,accuracy,margin,learning_rate,grad_norm"


def run(curve: Path, history: list[dict[str, Any]], logs: list[dict[str, Any]]) -> list[str]:
    """The lines of the curve of a run that has `history` behind it and logs `logs`."""
    progress, control = Progress(curve, steps_per_epoch=3), TrainerControl()
    arguments = TrainingArguments(output_dir=str(curve.parent), report_to="none")
    state = TrainerState(global_step=len(history), max_steps=9, log_history=history)
    progress.on_train_begin(arguments, state, control)
    for values in logs:
        state.global_step += 1
        progress.on_log(arguments, state, control, logs=values)
    progress.on_train_end(arguments, state, control)
    return curve.read_text(encoding="utf-8").splitlines()


def test_numbers_have_five_digits(tmp_path: Path) -> None:
    lines = run(tmp_path / "curve.csv", [], [STEP])
    assert lines == [HEADER, "1,0.33333,train,0.12346,0.5,-1234.6,3.3333e-06,2.0"]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_number_that_is_not_finite_leaves_its_cell_empty(tmp_path: Path, value: float) -> None:
    """An overflow of float16 gives an infinite gradient, and the scaler leaves the step out."""
    lines = run(tmp_path / "curve.csv", [], [STEP | {"grad_norm": value}])
    assert lines[1] == "1,0.33333,train,0.12346,0.5,-1234.6,3.3333e-06,"


def test_rows_before_a_checkpoint_are_written_again(tmp_path: Path) -> None:
    evaluated = {"eval_log_loss": 0.25, "eval_accuracy": 0.75}
    whole = run(tmp_path / "whole.csv", [], [STEP, evaluated, STEP])
    history = [STEP | {"step": 1}, evaluated | {"step": 2}]
    assert run(tmp_path / "resumed.csv", history, [STEP]) == whole
    assert whole[2] == "2,0.66667,validation,0.25,0.75,,,"


class Clock:
    """Seconds that a test says."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_pipe_gets_a_line_a_minute_and_one_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(curve_module, "monotonic", clock)
    progress, control = Progress(tmp_path / "curve.csv", steps_per_epoch=300), TrainerControl()
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    state = TrainerState(global_step=100, max_steps=300)  # goes on from a checkpoint
    progress.on_train_begin(arguments, state, control)
    for _ in range(150):  # a step a second
        clock.seconds += 1
        state.global_step += 1
        progress.on_log(arguments, state, control, logs=STEP)
        assert len((tmp_path / "curve.csv").read_text().splitlines()) == state.global_step - 99
    progress.on_train_end(arguments, state, control)
    assert capfd.readouterr().err.splitlines() == [
        "train: 160 of 300 steps [01:00<02:20,  1.00step/s, loss=0.123, accuracy=0.50]",
        "train: 220 of 300 steps [02:00<01:20,  1.00step/s, loss=0.123, accuracy=0.50]",
        "train: 250 of 300 steps [02:30<00:50,  1.00step/s, loss=0.123, accuracy=0.50]",
    ]
