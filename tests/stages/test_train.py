"""stages/train.py as a process: the same bytes again, even when killed; several processes."""

import json
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward.harness.params import PUT_BACK, load_params
from reward.harness.results import rounded
from reward.scoring.comparisons import read_comparisons
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.tokens.records import Token
from reward.training import trainer
from reward.training.network import build_network
from stages.train import TrainParams, train
from tests.support.runs import (
    copy,
    curve,
    finish,
    kill,
    kill_after,
    prepare,
    read_params,
    results,
    start,
    write_params,
)

PAIRS = 150


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = copy(prepared, tmp_path_factory.mktemp("trained") / "run")
    errors = finish(folder)
    # In place of a bar, for stderr is a pipe here: a line a minute, and this took less.
    lines = [line for line in errors.splitlines() if line.startswith("train: ")]
    assert len(lines) == 1, errors
    assert re.match(r"train: 30 of 30 steps \[\d\d:\d\d<", lines[0])
    assert "\r" not in errors
    return folder


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
    table = pq.read_table(trained / "data/tokens/validation.parquet")
    groups = read_comparisons(table).groups[:10]
    scorer = Scorer(open_model(model, torch.device("cpu")))
    assert scorer.share_prefixes(groups)
    ours = np.concatenate(scorer.score(groups, 1000, None))
    with torch.no_grad():
        theirs = [
            network(torch.from_numpy(sequence.astype(np.int64))[None]).logits.item()
            for group in groups
            for sequence in group.sequences
        ]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


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


# A library of this name that has nothing lets torch and transformers take the next one.
WRITER = """
import json, pathlib

class SummaryWriter:
    def __init__(self, log_dir):
        pathlib.Path(log_dir).mkdir(parents=True)
        self.file = open(f"{log_dir}/events.jsonl", "w")
    def add_text(self, *_):
        pass
    def add_scalar(self, *values):
        print(json.dumps(values), file=self.file)
    def flush(self):
        self.file.flush()
    def close(self):
        self.file.close()
"""


@pytest.mark.slow
def test_a_tracker_gets_every_step_and_changes_no_byte(
    prepared: Path, trained: Path, tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "tracked")
    (folder / "tensorboard.py").touch()
    (folder / "tensorboardX.py").write_text(WRITER, encoding="utf-8")
    write_params(folder, read_params(folder) | {"report_to": "tensorboard"})
    finish(folder)
    assert results(folder) == results(trained)
    [log] = (folder / "logs/tensorboard").glob("run-*/events.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = {step: rounded(value) for name, value, step in events if name == "train/loss"}
    assert losses == {int(row["step"]): float(row["loss"]) for row in curve(trained)}


def test_a_tracker_that_is_not_installed_ends_train_before_its_work(
    prepared: Path, tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "missing")
    write_params(folder, read_params(folder) | {"report_to": ["dvclive"]})
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert errors == (
        "train: report_to=['dvclive'] in params.yaml is not valid: dvclive must be installed for "
        f"that; run `pip install dvclive`, or set report_to to none; {PUT_BACK}.\n"
    )
    assert not (folder / "logs").exists()


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
    places = ("tokens", "backbone", "states", "model", "train.json", "curve.csv")
    params = load_params(TrainParams, folder / "params.yaml")
    train(params, *(folder / "data" / place for place in places))
    assert trainers


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
    table = pq.read_table(folder / "data/tokens/validation.parquet")
    groups = read_comparisons(table).groups
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
