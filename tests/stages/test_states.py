"""stages/states.py as a process, and train and evaluate, which read what it wrote."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from reward.evaluation.scores import Score
from reward.pairs.preference import UnusableError
from reward.score import score
from reward.scoring.states import States
from reward.serving.model import RewardModel
from tests.support.runs import (
    copy,
    curve,
    finish,
    give_weights,
    prepare,
    read_params,
    start,
    torchrun,
    write_params,
)

UNUSED = "The stored states are not used"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which states can start, with a backbone that has weights."""
    folder = prepare(tmp_path_factory.mktemp("prepared"))
    give_weights(folder)
    return folder


def with_entry(prepared: Path, folder: Path, **entry: Any) -> Path:
    """A copy with other values in the backbone's entry."""
    copy(prepared, folder)
    params = read_params(folder)
    params["backbones"]["tiny"] |= entry
    write_params(folder, params)
    return folder


@pytest.fixture(scope="module")
def computed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """For a number of trained layers a folder in which states has run; nobody changes it."""
    folders: dict[int, Path] = {}

    def run(trained: int) -> Path:
        if trained not in folders:
            place = tmp_path_factory.mktemp("computed") / str(trained)
            folders[trained] = with_entry(prepared, place, trained_layers=trained)
            finish(place, stage="states")
        return folders[trained]

    return run


def refused(folder: Path, stage: str) -> str:
    """What a stage says that must fail: its last line."""
    process = start(folder, stage=stage)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


@pytest.mark.parametrize("trained", [0, 1])
def test_files_are_as_large_as_the_tokens_ask_and_settings_say_how(
    computed: Callable[[int], Path], trained: int
) -> None:
    folder = computed(trained)
    text = (folder / "data/states/settings.json").read_text(encoding="utf-8")
    settings = States.model_validate_json(text)
    assert settings.trained_layers == trained
    assert settings.kept == ("all" if trained else "scored")
    depths = json.loads((folder / "data/depths.json").read_text(encoding="utf-8"))
    table = pq.read_table(folder / "data/tokens/train.parquet").to_pydict()
    rows = len(np.load(folder / "data/states/train.npy"))
    if trained:
        tokens = map(len, [*table["chosen_ids"], *table["rejected_ids"]])
        assert rows == sum(tokens) - sum(table["prefix_length"])
        assert depths == {"depths": []}
    else:
        assert rows == 2 * len(table["chosen_ids"])
        assert [row["depth"] for row in depths["depths"]] == [1, 2]
        for row in depths["depths"]:
            assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
            assert row["pairs"] == len(table["chosen_ids"])


@pytest.mark.slow
@pytest.mark.parametrize("trained", [0, 1])
def test_experiments_read_the_same_states_and_the_model_is_a_standard_one(
    computed: Callable[[int], Path], tmp_path: Path, trained: int
) -> None:
    """Two that differ in learning rate, loss, epochs and seed."""
    folder = tmp_path / "run"
    shutil.copytree(computed(trained), folder)
    files = [*(folder / "data/states").iterdir(), folder / "data/depths.json"]
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    found: list[dict[str, Any]] = []
    for changes in ({}, {"learning_rate": 0.01, "loss": "margin", "seed": 7, "epochs": 1}):
        params = read_params(folder)
        params["train"] |= changes
        write_params(folder, params)
        for stage in ("train", "evaluate"):
            assert UNUSED not in finish(folder, stage=stage)
        found.append(load_file(folder / "data/model/model.safetensors"))
        check_scores(folder)
    one, other = found
    kept = load_file(folder / "data/backbone/model.safetensors")
    changed = {name for name in one if (one[name] != other[name]).any()}
    beginnings = ("transformer.h.1.", "transformer.ln_f.", "score.") if trained else ("score.",)
    assert all(name.startswith(beginnings) for name in changed)
    assert "score.weight" in changed
    for name, weight in kept.items():
        if not f"transformer.{name}".startswith(beginnings):
            assert (one[f"transformer.{name}"] == weight).all(), name
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files} == before


def check_scores(folder: Path) -> None:
    """What evaluate found from states is what the model gives that is saved."""
    scores = pq.read_table(folder / "data/scores/validation.parquet").to_pydict()
    rows = pq.read_table(folder / "data/splits/validation.parquet").to_pylist()
    by_id = {row["pair_id"]: row for row in rows}
    rows = [by_id[name] for name in scores[Score.PAIR_ID]]
    expected = list(score(RewardModel.open(folder / "data/model"), rows))
    assert len(expected) > 10
    for side in (Score.CHOSEN_SCORE, Score.REJECTED_SCORE):
        one_by_one = [row[side] for row in expected if not isinstance(row, UnusableError)]
        np.testing.assert_allclose(scores[side], one_by_one, rtol=1e-5, atol=1e-5)


def test_states_without_weights_are_refused_in_one_sentence(prepared: Path, tmp_path: Path) -> None:
    folder = with_entry(prepared, tmp_path / "run", trained_layers=1)
    source = folder / "data/backbone/source.json"
    record = json.loads(source.read_text(encoding="utf-8"))
    source.write_text(json.dumps(record | {"weights": []}), encoding="utf-8")
    last = refused(folder, "states")
    assert last.startswith("states: trained_layers=1 keeps the other layers as they are, and the")
    assert last.endswith("tiny has no weights: set it to all, or choose another backbone.")
    assert not (folder / "data/states/train.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "settings", "sentence"),
    [
        ({"trained_layers": 2}, {}, "states: trained_layers=2 leaves none of the 2 layers as "),
        ({"trained_layers": 1, "layers": 1}, {}, "states: trained_layers=1 leaves none of the 1 "),
        ({"trained_layers": 0, "layers": 3}, {}, "states: layers=3 is more than the 2 that the "),
        ({"trained_layers": 1}, {"most_gigabytes": 1e-6}, "states: the states of these pairs take"),
    ],
)
def test_what_cannot_be_computed_is_one_sentence(
    prepared: Path, tmp_path: Path, entry: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    folder = with_entry(prepared, tmp_path / "run", **entry)
    params = read_params(folder)
    params["states"] |= settings
    write_params(folder, params)
    assert refused(folder, "states").startswith(sentence)
    assert not list((folder / "data").glob(".states*"))
    assert not (folder / "data/states/train.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_damaged_states_end_a_stage_in_one_sentence(
    computed: Callable[[int], Path], tmp_path: Path, stage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(computed(0), folder)
    finish(folder)
    name = {"train": "train", "evaluate": "validation"}[stage]
    path = folder / f"data/states/{name}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    if stage == "train":
        shutil.rmtree(folder / "data/model")
    last = refused(folder, stage)
    assert last == (
        f"{stage}: data/states/{name}.npy is not the file that the stage states wrote: run dvc "
        f"repro --force states."
    )
    assert not (folder / "data/scores").exists()
    assert (folder / "data/model").exists() == (stage == "evaluate")


@pytest.mark.slow
@pytest.mark.parametrize("trained", [0, 1])
def test_two_processes_compute_and_train_as_one_does(
    prepared: Path, computed: Callable[[int], Path], tmp_path: Path, trained: int
) -> None:
    alone, folder = tmp_path / "alone", tmp_path / "two"
    shutil.copytree(computed(trained), alone)
    with_entry(prepared, folder, trained_layers=trained)
    for stage in ("states", "train"):
        launcher = torchrun(folder, 2)
        assert UNUSED not in finish(folder, *launcher, stage=stage)
        ranks = sorted(path.name for path in (folder / "ranks").iterdir())
        assert ranks == [f"{stage}-0", f"{stage}-1"]
        shutil.rmtree(folder / "ranks")
    for name in ("train.npy", "validation.npy"):
        one, two = (np.load(place / "data/states" / name) for place in (alone, folder))
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)
    one, two = (
        json.loads((place / "data/depths.json").read_text(encoding="utf-8"))
        for place in (alone, folder)
    )
    assert two == one
    finish(alone)
    for name in ("loss", "accuracy", "margin", "learning_rate"):
        np.testing.assert_allclose(
            [float(row[name]) for row in curve(folder)],
            [float(row[name]) for row in curve(alone)],
            rtol=1e-4,  # five digits are written
            atol=1e-5,
        )
