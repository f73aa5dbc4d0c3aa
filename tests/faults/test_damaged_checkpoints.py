"""Checkpoints that a disk, a person or a power cut has damaged: none is taken up, each is named."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reward.harness.files import read_json
from reward.training.checkpoints import latest
from tests.support.forks import Ended, Forks
from tests.support.pipeline import options
from tests.support.runs import (
    copy,
    environment,
    finish,
    kill_all,
    prepare,
    results,
    torchrun,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks("stages.train", environment(tmp_path_factory.mktemp("nowhere"))) as running:
        yield running


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    settings = {"epochs": 1, "batch_pairs": 16, "checkpoint_steps": 2, "normalise_pairs": 10}
    return copy(prepare(tmp_path_factory.mktemp("all")), folder / "few", **settings)


class Killed:
    """A run that was killed when it was about to remove the first of three whole checkpoints."""

    def __init__(self, prepared: Path, folder: Path, forks: Forks, **train: Any):
        self.whole, self.folder = (copy(prepared, folder / name, **train) for name in ("a", "b"))
        self.forks = forks
        done = self.resume(self.whole)
        removal = next(i for i, did in enumerate(done.operations) if "rename checkpoint-" in did)
        ended = forks.run(self.folder, options("train"), at=removal)
        assert ended.status == -signal.SIGKILL
        (runs,) = self.folder.glob(".checkpoints/*/")
        assert {path.name for path in runs.iterdir()} == {f"checkpoint-{n}" for n in (2, 4, 6)}

    def resume(self, folder: Path) -> Ended:
        done = self.forks.run(folder, options("train"))
        assert done.status == 0, done.errors
        return done

    def damaged(self, folder: Path, act: Callable[[Path], object]) -> str:
        """What the next run prints where `act` was done to the folder of checkpoints before; its
        results must be those of the undisturbed run.
        """
        shutil.copytree(self.folder, folder)
        (runs,) = folder.glob(".checkpoints/*/")
        act(runs)
        errors = self.resume(folder).errors
        assert results(folder) == results(self.whole)
        assert not list((folder / ".checkpoints").iterdir())
        shutil.rmtree(folder)
        return errors


@pytest.fixture(scope="module")
def killed(prepared: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return Killed(prepared, tmp_path_factory.mktemp("killed"), forks)


def truncated(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "truncated": truncated,
    "flipped": flipped,
}


def damage_to(file: str, what: str) -> Callable[[Path], object]:
    return lambda runs: DAMAGE[what](runs / file)


@pytest.mark.parametrize("what", DAMAGE)
def test_each_file_of_a_checkpoint_counts(killed: Killed, tmp_path: Path, what: str) -> None:
    (newest,) = killed.folder.glob(".checkpoints/*/checkpoint-6")
    names = sorted(path.name for path in newest.iterdir())
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= {*names}
    assert {"trainer_state.json", "budget.json", "complete"} <= {*names}
    for name in names:
        errors = killed.damaged(tmp_path / name, damage_to(f"checkpoint-6/{name}", what))
        (line,) = [line for line in errors.splitlines() if "passed over" in line]
        assert "checkpoint-6 is passed over: " in line
        assert name in line or (name, what) == ("complete", "deleted"), line
        assert "goes on from its checkpoint-4" in errors


def test_where_none_is_whole_the_run_starts_over(killed: Killed, tmp_path: Path) -> None:
    def act(runs: Path) -> None:
        for file in runs.glob("*/optimizer.pt"):
            flipped(file)

    errors = killed.damaged(tmp_path / "run", act)
    assert errors.count(" is passed over: its optimizer.pt has other bytes") == 3
    assert "goes on from" not in errors


def test_what_is_left_of_a_removal_without_a_new_name_is_not_taken_up(
    killed: Killed, tmp_path: Path
) -> None:
    """As a run of an earlier version left it: file by file, the mark of completeness last."""

    def act(runs: Path) -> None:
        for checkpoint in runs.iterdir():
            for file in checkpoint.iterdir():
                if file.name not in ("complete", "model.safetensors", "trainer_state.json"):
                    file.unlink()

    assert killed.damaged(tmp_path / "run", act).count(" is passed over: its ") == 3


@pytest.fixture(scope="module")
def selecting(prepared: Path, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """One that evaluates at every checkpoint and ends with the best, which is not the newest."""
    train = {"evaluate_steps": 2, "learning_rate": 0.02}
    return Killed(prepared, tmp_path_factory.mktemp("selecting"), forks, **train)


def best_of(folder: Path) -> int:
    """The step of the best checkpoint of a killed run."""
    (runs,) = folder.glob(".checkpoints/*/")
    newest = latest(runs)
    assert newest
    return read_json(newest / "trainer_state.json")["best_global_step"]


@pytest.mark.parametrize("what", DAMAGE)
def test_a_best_checkpoint_that_was_damaged_is_not_forgotten(
    selecting: Killed, tmp_path: Path, what: str
) -> None:
    best = best_of(selecting.folder)
    assert best < 6
    act = damage_to(f"checkpoint-{best}/model.safetensors", what)
    errors = selecting.damaged(tmp_path / "run", act)
    assert f"checkpoint-6 is passed over: of the best one until then, checkpoint-{best}" in errors


def test_the_best_checkpoint_is_found_where_the_project_was_moved(
    selecting: Killed, tmp_path: Path
) -> None:
    moved = shutil.copytree(selecting.folder, tmp_path / "elsewhere/moved")
    kept = selecting.folder.rename(tmp_path / "gone")
    try:
        assert "goes on from its checkpoint-6" in selecting.resume(moved).errors
    finally:
        kept.rename(selecting.folder)
    assert results(moved) == results(selecting.whole)


def test_two_processes_take_up_the_same_checkpoint(prepared: Path, tmp_path: Path) -> None:
    """The newest lacks what the second of them wrote, and the first finds all that it needs."""
    whole, folder = (copy(prepared, tmp_path / name, epochs=4) for name in ("whole", "killed"))
    finish(whole, *torchrun(whole, 2))
    kill_all(
        folder,
        *torchrun(folder, 2),
        ready=lambda: any(folder.glob(".checkpoints/*/checkpoint-4/complete")),
    )
    (runs,) = folder.glob(".checkpoints/*/")
    newest = latest(runs)
    assert newest
    (newest / "rng_state_1.pth").unlink()
    before = latest(runs)
    assert before
    errors = finish(folder, *torchrun(folder, 2))
    assert errors.count(f"{newest.name} is passed over: its rng_state_1.pth is not there") == 1
    assert errors.count(f"goes on from its {before.name}\n") == 1
    assert {file.name for file in (folder / "ranks").iterdir()} == {"train-0", "train-1"}
    assert results(folder) == results(whole)
