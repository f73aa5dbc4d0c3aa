"""Two runs of the same values, in processes of their own: one writes checkpoints, one is refused.

Both work in one folder, as after a launcher that was killed and left a process behind.
"""

import re
import signal
import time
from pathlib import Path

import pytest

from reward.training.checkpoints import latest
from tests.support.runs import copy, finish, kill_after, prepare, results, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run writes that nobody disturbs."""
    folder = copy(prepared, tmp_path_factory.mktemp("alone") / "run")
    finish(folder)
    return results(folder)


def test_a_second_run_is_refused_and_the_first_goes_on(
    prepared: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "run")
    first = start(folder)
    while not list(folder.glob(".checkpoints/*.lock")):
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # or it would be at its end when the second begins
    second = start(folder)
    _, refused = second.communicate(timeout=300)
    assert second.returncode == 1
    assert first.poll() is None
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate(timeout=300)
    (sentence,) = [line for line in refused.splitlines() if line.startswith("train: ")]
    assert re.match(rf"train: process {first.pid} on host \S+ is training with the same", sentence)
    assert "run again" in sentence
    assert "Traceback" not in refused
    assert first.returncode == 0, errors
    assert results(folder) == alone
    assert not list((folder / ".checkpoints").iterdir())


def test_after_the_holder_was_killed_the_next_run_goes_on_at_once(
    prepared: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    folder = copy(prepared, tmp_path / "run")
    kill_after(folder, steps=6)
    assert list(folder.glob(".checkpoints/*.lock"))  # the file is left, the lock is not
    (runs,) = folder.glob(".checkpoints/*/")
    last = latest(runs)  # the kill may have come some steps later
    assert last
    (folder / "metrics/train_curve.csv").unlink()
    assert f"goes on from its {last.name}\n" in finish(folder)
    assert results(folder) == alone
    assert not list((folder / ".checkpoints").iterdir())
