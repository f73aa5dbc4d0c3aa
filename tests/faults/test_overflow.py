"""A gradient that overflows: the step is left out, its cell in the curve is empty, and the report
draws the curve.
"""

import csv
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest
import torch

from reward.report.plots import Plot, draw
from tests.support.networks import SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

PROJECT = Path(__file__).parents[2]
SCALE = 2.0**10  # by which the loss is multiplied before its gradient is taken


def test_a_step_that_overflows_is_left_out_and_the_report_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random_groups((2,) * 12)
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, groups, batch_pairs=2, learning_rate=1e-3)
    # As accelerate sets it up for float16 on a GPU.
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    trainer.accelerator.scaler = scaler
    trainer.accelerator.native_amp = True
    weights: list[torch.Tensor] = []
    backward = trainer.accelerator.backward

    def overflowing(loss: torch.Tensor, **options: Any) -> None:
        backward(loss, **options)
        weight = network.get_parameter("score.weight")
        weights.append(weight.detach().clone())
        if trainer.state.global_step == 2:
            # float16 ends at 65504, and a gradient beyond it is infinite.
            assert weight.grad is not None
            weight.grad.copy_((weight.grad * 1e9).half().float())
            assert weight.grad.isinf().any()

    monkeypatch.setattr(trainer.accelerator, "backward", overflowing)
    trainer.run(None)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [row["grad_norm"] == "" for row in rows] == [False, False, True, False, False, False]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert torch.equal(weights[3], weights[2])  # the third step changed nothing
    assert not torch.equal(weights[4], weights[3])
    assert scaler.get_scale() == SCALE / 2

    table = pyarrow.csv.read_csv(tmp_path / "curve.csv")
    assert table["grad_norm"].null_count == 1
    drawn = draw(Plot("train_curve", table, PROJECT / ".dvc/plots/train_curve.json"))
    assert drawn.startswith("<svg")
    assert "NaN" not in drawn
