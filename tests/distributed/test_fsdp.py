"""FSDP2 on two CPUs trains as one process does; asked for where it cannot be had, it is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from reward.evaluation.scores import Score
from reward.harness.params import load_params
from reward.scoring import layers
from reward.training.checkpoints import latest
from stages.train import TrainParams, train
from tests.support.fsdp import SETTINGS
from tests.support.runs import (
    PROJECT,
    copy,
    curve,
    finish,
    give_weights,
    kill_all,
    prepare,
    read_params,
    results,
    rows_of,
    start,
    torchrun,
    write_params,
)

LORA = {"rank": 4, "alpha": 8, "targets": "all-linear"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains."""
    folder = copy(prepared, tmp_path_factory.mktemp("alone") / "run")
    finish(folder)
    return folder


@pytest.fixture(scope="module")
def alone_with_lora(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy(prepared, tmp_path_factory.mktemp("alone") / "lora")
    add_lora(folder)
    finish(folder)
    return folder


def add_lora(folder: Path) -> None:
    params = read_params(folder)
    params["backbones"]["tiny"]["lora"] = LORA
    write_params(folder, params)


def sharding(folder: Path) -> tuple[str, ...]:
    """A launcher of two processes, each of which asserts that it holds a part of the weights."""
    counted = str(PROJECT / "tests/support/counted.py")
    script = str(PROJECT / "tests/support/fsdp.py")
    return tuple(script if word == counted else word for word in torchrun(folder, 2))


def kill_sharded(folder: Path, steps: int) -> None:
    """Start training, and kill the launcher with its processes after so many steps."""
    checkpoints = folder / ".checkpoints"

    def ready() -> bool:
        written = any(latest(run) for run in checkpoints.glob("*/"))
        return written and rows_of(folder) >= steps

    kill_all(folder, *sharding(folder), ready=ready)
    assert steps <= rows_of(folder) < 30


def check_same(folder: Path, alone: Path) -> None:
    for name in ("loss", "accuracy", "margin", "learning_rate", "grad_norm"):
        found, expected = ([float(row[name]) for row in curve(one)] for one in (folder, alone))
        assert len(found) == 30
        # Five digits are written.
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5, err_msg=name)
    found, expected = ([float(row["loss"]) for row in curve(one)] for one in (folder, alone))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    weights, others = (load_file(one / "data/model/model.safetensors") for one in (folder, alone))
    assert set(weights) == set(others)
    for name, weight in weights.items():
        pair = [weight, others[name]]
        if name.endswith("c_attn.bias"):
            # Of queries, keys and values; keys' biases have no gradient, and rounding moves them.
            pair = [torch.cat([one.chunk(3)[0], one.chunk(3)[2]]) for one in pair]
        torch.testing.assert_close(pair[0], pair[1], rtol=1e-3, atol=2e-4, msg=name)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder / "data/model", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert type(model).__name__ in model.config.architectures
    assert {file.name for file in (folder / "data/model").iterdir()} == {
        file.name for file in (alone / "data/model").iterdir()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_killed_run_of_two_shards_ends_as_one_process_does(
    prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    """Adapters in shards of a checkpoint, with activations computed again, as well."""
    alone: Path = request.getfixturevalue("alone" if kind == "full" else "alone_with_lora")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    folder = copy(prepared, tmp_path / kind, activation_checkpointing=kind == "lora")
    if kind == "lora":
        add_lora(folder)
        monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")
    kill_sharded(folder, steps=10)
    (folder / "metrics/train_curve.csv").unlink()  # as DVC does before a stage
    errors = finish(folder, *sharding(folder))
    assert "train: a run that was cut off goes on from its checkpoint-" in errors
    assert {file.name for file in (folder / "ranks").iterdir()} == {"train-0", "train-1"}
    check_same(folder, alone)
    if kind == "full":
        check_evaluation(folder, alone, monkeypatch)


def check_evaluation(folder: Path, alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same launcher and environment, in which each process scores with all weights."""
    finish(folder, *torchrun(folder, 2), stage="evaluate")
    assert {"evaluate-0", "evaluate-1"} <= {file.name for file in (folder / "ranks").iterdir()}
    for name in SETTINGS:
        monkeypatch.delenv(name)
    finish(alone, stage="evaluate")
    found, expected = (
        pq.read_table(one / "data/scores/validation.parquet").to_pydict() for one in (folder, alone)
    )
    assert found[Score.PAIR_ID] == expected[Score.PAIR_ID]
    for side in (Score.CHOSEN_SCORE, Score.REJECTED_SCORE):
        np.testing.assert_allclose(found[side], expected[side], rtol=1e-3, atol=1e-3)


def with_states(prepared: Path, folder: Path, trained_layers: int) -> Path:
    copy(prepared, folder)
    give_weights(folder, trained_layers=trained_layers)
    finish(folder, stage="states")
    return folder


@pytest.mark.slow
def test_two_shards_train_the_upper_layers_as_one_process_does(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = with_states(prepared, tmp_path / "alone", trained_layers=1)
    folder = copy(alone, tmp_path / "sharded")
    finish(alone)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    errors = finish(folder, *sharding(folder))
    assert "states are not used" not in errors
    assert {file.name for file in (folder / "ranks").iterdir()} == {"train-0", "train-1"}
    check_same(folder, alone)
    weights = load_file(folder / "data/model/model.safetensors")
    for name, weight in load_file(folder / "data/backbone/model.safetensors").items():
        if name.startswith(("wte", "wpe", "h.0.")):
            assert torch.equal(weights[f"transformer.{name}"], weight), name


@pytest.mark.slow
def test_a_head_alone_is_not_sharded(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_states(prepared, tmp_path / "head", trained_layers=0)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    process = start(folder, *sharding(folder))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "train: trained_layers=0 does not go with FSDP" in errors
    assert not (folder / "data/model").exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_fsdp_that_cannot_be_had_is_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """As on any CPU: accelerate alone would train there without a word, and without FSDP."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    folder = copy(prepared, tmp_path / "refused")
    launcher = torchrun(folder, processes) if processes > 1 else (sys.executable,)
    process = start(folder, *launcher)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    sentences = [line for line in errors.splitlines() if line.startswith("train: ")]
    assert sentences
    assert all("asks for FSDP, which accelerate does not do here" in line for line in sentences)
    assert f"({processes} processes on cpu)" in sentences[0]
    assert not [part for part in ("reward", "stages") if f'File "{folder / part}' in errors]
    assert not (folder / "data/model").exists()
    assert not (folder / "ranks").exists()


@pytest.mark.slow
def test_computing_activations_again_changes_no_byte(
    prepared: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(prepared, tmp_path / "again", activation_checkpointing=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    calls: list[Any] = []
    checkpoint = layers.checkpoint

    def counted(*inputs: Any, **options: Any) -> Any:
        calls.append(inputs[0])
        return checkpoint(*inputs, **options)

    monkeypatch.setattr(layers, "checkpoint", counted)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(
            load_params(TrainParams, folder / "params.yaml"),
            folder / "data/tokens",
            folder / "data/backbone",
            folder / "data/states",
            folder / "data/model",
            folder / "metrics/train.json",
            folder / "metrics/train_curve.csv",
        )
    finally:
        torch.set_num_threads(threads)
    assert len(calls) >= 2 * 30  # two layers in each step
    expected = results(alone)
    for name, content in results(folder).items():
        assert content == expected[name], name
