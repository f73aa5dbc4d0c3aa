"""Every stage, killed between any two of its changes to the file system, and run again."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from reward.harness.files import dvc_hash, remove
from tests.support.clones import copy_of_project
from tests.support.forks import Ended, Forks
from tests.support.models import save_weights
from tests.support.pipeline import PIPELINE, options, written
from tests.support.runs import environment, finish, read_params, write_params

pytestmark = pytest.mark.slow

STREAMED = "metrics/train_curve.csv"  # which grows while the run goes on, for whoever watches it
THINNED = 5  # of many operations of one kind, one in so many


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which all stages have run, on few pairs; half of the backbone's
    layers stay as they are.
    """
    folder = copy_of_project(tmp_path_factory.mktemp("place") / "project")
    sample = folder / "data/sources/sample.jsonl"
    lines = sample.read_text(encoding="utf-8").splitlines(keepends=True)
    sample.write_text("".join(lines[::25]), encoding="utf-8")
    params = read_params(folder)
    params["max_length"] = 48
    params["train"] |= {"epochs": 1, "batch_pairs": 12, "checkpoint_steps": 2}
    params["train"]["normalise_pairs"] = 10
    save_weights(folder / "data/sources/tiny")
    params["backbones"]["tiny"]["trained_layers"] = 1
    params["testsets"] = {"mine": {"source": "data/sources/sample.jsonl"}}
    write_params(folder, params)
    for stage in PIPELINE:
        finish(folder, stage=stage)
    return folder


@pytest.fixture(params=list(PIPELINE))
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def forks(place: Path, stage: str) -> Iterator[Forks]:
    with Forks(f"stages.{stage}", environment(place)) as running:
        yield running


def hashes(place: Path, stage: str) -> dict[str, str]:
    return {path: dvc_hash(place / path) for path in written(stage) if (place / path).exists()}


def clear(place: Path, stage: str) -> None:
    """As DVC does before a stage."""
    for path in written(stage):
        remove(place / path)


def left_over(place: Path) -> list[Path]:
    hidden = [*place.glob("data/.*"), *place.glob("metrics/.*"), *place.glob(".checkpoints/*")]
    return [path for path in hidden if path.name != ".gitignore"]


def kinds(ended: Ended) -> list[str]:
    """A run's operations without what they were done to, whose names may be new each time."""
    return [operation.split()[0] for operation in ended.operations]


def points(whole: Ended, number: int) -> list[int]:
    """Where to send a signal: at every change, but at few of those that bring one file after
    another to the disk, and of those that remove what the last new name has put aside.
    """
    did = kinds(whole)
    last = max(at for at, kind in enumerate(did) if kind in ("rename", "replace"))
    few = [
        at
        for at, kind in enumerate(did)
        if at % THINNED == 0 or (kind != "fsync" and (at <= last + 1 or kind != "unlink"))
    ]
    return few if number == signal.SIGKILL else few[:: max(1, len(few) // 8)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_was_ended_anywhere_leaves_nothing_half_and_runs_again(
    place: Path, stage: str, forks: Forks, number: signal.Signals
) -> None:
    expected = hashes(place, stage)
    assert len(expected) == len(written(stage))
    for _ in range(2):  # the second one finds all modules imported, as those that follow
        clear(place, stage)
        whole = forks.run(place, options(stage))
        assert whole.status == 0, whole.errors
        assert hashes(place, stage) == expected
    chosen = points(whole, number)
    assert len(chosen) >= 3
    went_on = 0
    for at in chosen:
        clear(place, stage)
        ended = forks.run(place, options(stage), at=at, number=number)
        # It hit: where Python may clear up, its status is one of its own.
        assert ended.status == -number or (number != signal.SIGKILL and ended.status > 0), ended
        assert kinds(ended)[: at + 1] == kinds(whole)[: at + 1]
        assert number != signal.SIGKILL or len(ended.operations) == at + 1
        for path, found in hashes(place, stage).items():
            assert found == expected[path] or path == STREAMED, (at, whole.operations[at])
        again = forks.run(place, options(stage))
        assert again.status == 0, again.errors
        assert hashes(place, stage) == expected, (at, whole.operations[at], again.errors)
        assert not left_over(place), (at, whole.operations[at])
        went_on += "goes on from its checkpoint-" in again.errors
    assert (went_on > len(chosen) / 4) == (stage == "train")
    shutil.rmtree(place / "logs", ignore_errors=True)
