"""Several processes train and evaluate as one does; each asserts that it is one of so many."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reward.evaluation.scores import Score
from tests.support.runs import copy, curve, finish, prepare, torchrun


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains and finds."""
    folder = copy(prepared, tmp_path_factory.mktemp("alone") / "run")
    finish(folder)
    finish(folder, stage="evaluate")
    return folder


def ranks(folder: Path) -> list[str]:
    """Which stage ran in which rank in a folder, which is then as before."""
    found = sorted(path.name for path in (folder / "ranks").iterdir())
    shutil.rmtree(folder / "ranks")
    return found


def column(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in curve(folder)]


def scores(folder: Path, names: Sequence[str]) -> dict[str, list[float]]:
    return pq.read_table(folder / "data/scores/validation.parquet", columns=names).to_pydict()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_do_what_one_does(
    prepared: Path, alone: Path, tmp_path: Path, processes: int
) -> None:
    folder = copy(prepared, tmp_path / "several")
    launcher = torchrun(folder, processes)
    finish(folder, *launcher)
    assert ranks(folder) == [f"train-{rank}" for rank in range(processes)]
    for name in ("loss", "accuracy", "margin", "learning_rate"):
        np.testing.assert_allclose(
            column(folder, name),
            column(alone, name),
            rtol=1e-4,  # five digits are written
            atol=1e-5,
        )
    # Of the same model, so that only the scoring differs.
    shutil.rmtree(folder / "data/model")
    shutil.copytree(alone / "data/model", folder / "data/model")
    finish(folder, *launcher, stage="evaluate")
    assert ranks(folder) == [f"evaluate-{rank}" for rank in range(processes)]
    ids = [Score.PAIR_ID]
    assert scores(folder, ids) == scores(alone, ids)
    for side in (Score.CHOSEN_SCORE, Score.REJECTED_SCORE):
        np.testing.assert_allclose(
            scores(folder, [side])[side], scores(alone, [side])[side], atol=1e-5
        )
    for result in ("evaluate.json", "groups.csv"):
        assert (folder / "metrics" / result).read_text() == (alone / "metrics" / result).read_text()


@pytest.mark.slow
def test_processes_that_would_work_for_themselves_are_refused(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a launcher that says how many there are and lets nobody find the others."""
    from tests.support.runs import start

    folder = copy(prepared, tmp_path / "apart")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    params = folder / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "process_timeout: 600" in text
    params.write_text(text.replace("process_timeout: 600", "process_timeout: 3"), encoding="utf-8")
    process = start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("train: ")
    assert not (folder / "data/model").exists()
