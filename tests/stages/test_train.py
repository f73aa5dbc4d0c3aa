"""stages/train.py as a process: the same bytes again, even when killed; several processes."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward.harness.params import load_params
from reward.harness.results import rounded
from reward.scoring.groups import read_groups
from reward.scoring.scorer import Scorer, open_model
from reward.tokens.records import Token
from reward.training import trainer
from reward.training.network import build_network
from stages.download import DownloadParams, download
from stages.split import SplitParams, split
from stages.tokenize import TokenizeParams, tokenize
from stages.train import TrainParams, train

PROJECT = Path(__file__).parents[2]
PAIRS = 150


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which train can start: 150 short pairs of the sample, one epoch, small steps."""
    folder = tmp_path_factory.mktemp("prepared")
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "pairs.jsonl").write_text("\n".join(lines[:PAIRS]) + "\n", encoding="utf-8")
    params = read_params(PROJECT)
    params["max_length"] = 48
    params["datasets"]["sample"]["source"] = str(folder / "pairs.jsonl")
    params["backbones"]["tiny"]["source"] = str(PROJECT / "data/sources/tiny")
    # Several micro-batches make a step, so that adding up is tested as well.
    few_tokens = params["train"]["micro_batch_tokens"] | {"cpu": 200}
    params["train"] |= {"epochs": 2, "batch_pairs": 8, "checkpoint_steps": 4}
    params["train"] |= {"micro_batch_tokens": few_tokens}
    write_params(folder, params)
    path = folder / "params.yaml"
    download(load_params(DownloadParams, path), folder / "data/raw", folder / "data/backbone")
    split(load_params(SplitParams, path), folder / "data/raw", folder / "data/splits")
    tokenize(
        load_params(TokenizeParams, path),
        folder / "data/splits",
        folder / "data/backbone",
        folder / "data/tokens",
    )
    (folder / "metrics").mkdir()
    return folder


def read_params(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))


def write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def copy(prepared: Path, folder: Path, **train: Any) -> Path:
    """A fresh checkout of the prepared folder with other values in its `train` section."""
    shutil.copytree(prepared, folder)
    params = read_params(folder)
    params["train"] |= train
    write_params(folder, params)
    return folder


def start(folder: Path, *launcher: str) -> subprocess.Popen[str]:
    """Start `python -m stages.train` in a folder, as dvc.yaml does."""
    command = [*(launcher or (sys.executable,)), "-m", "stages.train"]
    for name in ("tokens", "backbone", "model"):
        command += [f"--{name}", f"data/{name}"]
    command += ["--metrics", "metrics/train.json", "--curve", "metrics/train_curve.csv"]
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "DVC_ROOT": str(folder),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def finish(folder: Path, *launcher: str) -> str:
    process = start(folder, *launcher)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def kill(folder: Path, ready: Callable[[], bool]) -> None:
    """Start the stage and kill it as soon as it is `ready`."""
    process = start(folder)
    while process.poll() is None and not ready():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "data/model").exists()


def kill_after(folder: Path, steps: int) -> None:
    (folder / "metrics/train_curve.csv").unlink(missing_ok=True)  # as DVC does before a stage
    kill(folder, lambda: rows_of(folder) >= steps)


def results(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "data/model").iterdir(), *(folder / "metrics").iterdir()]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = copy(prepared, tmp_path_factory.mktemp("trained") / "run")
    finish(folder)
    return folder


def curve(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics/train_curve.csv").open()))


def test_model_opens_in_transformers_and_scores_as_ours(trained: Path) -> None:
    model = trained / "data/model"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        f.name for f in model.iterdir()
    }
    assert not [file for file in model.iterdir() if file.suffix in (".bin", ".pt", ".pkl")]
    network = AutoModelForSequenceClassification.from_pretrained(model)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert network.config.num_labels == 1
    assert network.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.chat_template
    groups = read_groups(pq.read_table(trained / "data/tokens/validation.parquet"))[:10]
    scorer = Scorer(open_model(model, torch.device("cpu")))
    assert scorer.share_prefixes(groups)
    ours = np.concatenate(scorer.score(groups, 1000, None))
    with torch.no_grad():
        theirs = [
            network(torch.from_numpy(sequence.astype(np.int64))[None]).logits.item()
            for group in groups
            for sequence in group.sequences
        ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_summary_and_curve_agree(trained: Path) -> None:
    summary = json.loads((trained / "metrics/train.json").read_text(encoding="utf-8"))
    pairs = pq.read_metadata(trained / "data/tokens/train.parquet").num_rows
    rows = curve(trained)
    per_epoch = -(-pairs // 8)
    assert summary["pairs"] == pairs
    assert summary["steps"] == len(rows) == 2 * per_epoch
    sizes = [8] * (per_epoch - 1) + [pairs - 8 * (per_epoch - 1)]
    accuracies = [float(row["accuracy"]) for row in rows[per_epoch:]]
    expected = sum(a * n for a, n in zip(accuracies, sizes, strict=True)) / pairs
    assert summary["last_epoch_accuracy"] == rounded(expected)


@pytest.mark.slow
def test_same_seed_same_bytes_and_another_seed_others(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    again = copy(prepared, tmp_path / "again")
    finish(again)
    assert results(again) == results(trained)
    params = read_params(again)
    write_params(again, params | {"seed": 43})
    finish(again)
    other, first = results(again), results(trained)
    assert other["model.safetensors"] != first["model.safetensors"]
    assert other["tokenizer.json"] == first["tokenizer.json"]


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_bytes(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "killed")
    steps = len(curve(trained))
    draw = np.random.default_rng(5)
    for after in sorted(draw.choice(np.arange(1, steps - 2), 3, replace=False)):
        kill_after(folder, after)
    errors = finish(folder)
    assert "goes on from its checkpoint-" in errors
    assert results(folder) == results(trained)
    assert not list((folder / ".checkpoints").iterdir())  # success removes them


def rows_of(folder: Path) -> int:
    path = folder / "metrics/train_curve.csv"
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0


@pytest.fixture(scope="module")
def adapted(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder in which adapters are to be trained, and the same after an uninterrupted run."""
    folder = copy(prepared, tmp_path_factory.mktemp("adapted") / "before")
    params = read_params(folder)
    params["backbones"]["tiny"]["lora"] = {"rank": 4, "alpha": 8, "targets": "all-linear"}
    write_params(folder, params)
    done = copy(folder, folder.with_name("after"))
    finish(done)
    return folder, done


@pytest.mark.slow
def test_adapters_are_merged_and_nothing_but_them_and_the_head_has_moved(
    adapted: tuple[Path, Path],
) -> None:
    _, folder = adapted
    assert not list((folder / "data/model").glob("adapter*"))
    before = build_network(folder / "data/backbone", 42, torch.float32).state_dict()
    after = open_model(folder / "data/model", torch.device("cpu")).state_dict()
    assert after.keys() == before.keys()
    moves = {name: after[name] - before[name] for name in before}
    moved = {name for name, move in moves.items() if move.any()}
    linear = {
        name for name in before if name.endswith(("attn.weight", "c_proj.weight", "c_fc.weight"))
    }
    assert len(linear) == 8  # four of each of two layers
    assert moved == linear | {"score.weight"}
    for name in linear:
        # Rounding in float32 leaves traces of 1e-7 and less.
        assert torch.linalg.matrix_rank(moves[name], atol=1e-5) == 4, name
    summary = json.loads((folder / "metrics/train.json").read_text(encoding="utf-8"))
    sizes = [sum(before[name].shape) for name in linear]
    assert summary["trained_weights"] == 4 * sum(sizes) + before["score.weight"].numel()


@pytest.mark.slow
def test_killed_adapters_go_on_with_the_same_bytes(
    adapted: tuple[Path, Path], tmp_path: Path
) -> None:
    before, done = adapted
    folder = copy(before, tmp_path / "killed")
    kill_after(folder, 10)
    assert "goes on from its checkpoint-" in finish(folder)
    assert results(folder) == results(done)


@pytest.mark.slow
def test_another_value_takes_up_no_checkpoint(prepared: Path, tmp_path: Path) -> None:
    folder = copy(prepared, tmp_path / "killed")
    kill_after(folder, 10)
    assert list((folder / ".checkpoints").glob("*/checkpoint-*"))
    params = read_params(folder)
    params["train"]["weight_decay"] = 0.02
    write_params(folder, params)
    assert "goes on from" not in finish(folder)


@pytest.mark.slow
def test_an_edit_that_changes_no_weight_loses_no_checkpoint(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "killed")
    kill_after(folder, 10)
    params = read_params(folder)
    params["backbones"]["another"] = {"source": "someone/else", "learning_rate": 1.0}
    params["evaluate"]["confidence"] = 0.9
    write_params(folder, params)
    assert "goes on from its checkpoint-" in finish(folder)
    assert results(folder) == results(trained)


def test_the_optimiser_makes_room_for_the_saved_model(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(prepared, tmp_path / "run", epochs=1)
    trainers: list[weakref.ref[trainer.PairTrainer]] = []

    class Watched(trainer.PairTrainer):
        def __init__(self, **options: Any):
            super().__init__(**options)
            trainers.append(weakref.ref(self))

    def normalised(*_: Any, **__: Any) -> None:
        assert [one() for one in trainers] == [None]

    monkeypatch.setattr("stages.train.PairTrainer", Watched)
    monkeypatch.setattr("stages.train.normalise", normalised)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    places = ("data/tokens", "data/backbone", "data/model", "metrics/train.json", "curve.csv")
    params = load_params(TrainParams, folder / "params.yaml")
    train(params, *(folder / place for place in places))
    assert trainers


@pytest.mark.slow
def test_two_processes_train_as_one(prepared: Path, trained: Path, tmp_path: Path) -> None:
    folder = copy(prepared, tmp_path / "two")
    accelerate = Path(sys.executable).with_name("accelerate")
    finish(
        folder,
        str(accelerate),
        "launch",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--cpu",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    )
    one, two = curve(trained), curve(folder)
    assert len(one) == len(two)
    for name in ("loss", "accuracy", "margin", "learning_rate"):
        np.testing.assert_allclose(
            [float(row[name]) for row in two],
            [float(row[name]) for row in one],
            rtol=1e-4,  # five digits are written
            atol=1e-5,
        )


@pytest.mark.slow
def test_best_model_by_log_loss_is_kept_and_training_stops_early(
    prepared: Path, tmp_path: Path
) -> None:
    # A learning rate at which the log loss on the validation pairs soon gets worse.
    folder = copy(
        prepared, tmp_path / "early", epochs=12, learning_rate=5e-3, evaluate_steps=5, patience=2
    )
    finish(folder)
    evaluations = [row for row in curve(folder) if row["split"] == "validation"]
    losses = [float(row["loss"]) for row in evaluations]
    best = int(np.argmin(losses))
    assert len(losses) == best + 3  # two evaluations without a better one
    groups = read_groups(pq.read_table(folder / "data/tokens/validation.parquet"))
    scorer = Scorer(open_model(folder / "data/model", torch.device("cpu")))
    margins = np.array([chosen - rejected for chosen, rejected in scorer.score(groups, 1000, None)])
    assert np.log1p(np.exp(-margins)).mean() == pytest.approx(losses[best], rel=1e-4)


@pytest.mark.slow
def test_killed_after_it_stopped_early_it_stops_there_again(prepared: Path, tmp_path: Path) -> None:
    settings = {"epochs": 12, "learning_rate": 5e-3, "evaluate_steps": 5, "patience": 2}
    whole = copy(prepared, tmp_path / "whole", **settings)
    finish(whole)
    last = int(curve(whole)[-1]["step"])
    folder = copy(prepared, tmp_path / "killed", **settings)
    written = f".checkpoints/*/checkpoint-{last}/trainer_state.json"
    kill(folder, lambda: bool(list(folder.glob(written))))
    assert "goes on from its checkpoint-" in finish(folder)
    assert results(folder) == results(whole)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["margin", "scaled"])
def test_ratings_that_a_loss_needs_are_asked_for(prepared: Path, tmp_path: Path, loss: str) -> None:
    folder = copy(prepared, tmp_path / "unrated", loss=loss)
    path = folder / "data/tokens/train.parquet"
    table = pq.read_table(path)
    where = table.schema.get_field_index(Token.CHOSEN_RATING)
    column = [None, *table[Token.CHOSEN_RATING].to_pylist()[1:]]
    pq.write_table(table.set_column(where, table.schema.field(where), [column]), path)
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"train.loss={loss} needs two ratings for every pair, and 1 training pairs" in errors
    assert "Traceback" not in errors
    assert not (folder / "data/model").exists()
