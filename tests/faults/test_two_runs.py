"""Two of DVC's runs of one checkout at the same time, each a process of its own."""

import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.clones import dvc, environment, execute, git, outcome, ran, small_copy
from tests.support.pipeline import PIPELINE

DVC = (sys.executable, "-m", "dvc")
SECONDS = 600  # after which a test gives up waiting

pytestmark = pytest.mark.slow


def running(stage: str, folder: Path) -> list[psutil.Process]:
    """The processes of a stage that work somewhere below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"stages.{stage}" in process.cmdline() and folder in Path(process.cwd()).parents:
                found.append(process)
        except psutil.Error:  # it has ended since
            continue
    return found


def test_a_second_repro_is_refused_and_the_first_goes_on(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    first = subprocess.Popen(
        [*DVC, "repro"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (stage := running("tokenize", tmp_path)):
        assert first.poll() is None
        time.sleep(0.01)
    stage[0].send_signal(signal.SIGSTOP)  # or it might be at its end when the second begins
    second = execute(folder, *DVC, "repro")
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert f"(PID {first.pid})" in second.stderr
    assert ran(second.stdout) == []
    stage[0].send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=SECONDS)
    assert first.returncode == 0, output
    assert ran(output) == list(PIPELINE)
    assert outcome(folder) == outcome(usual)


def test_two_workers_of_the_queue_do_what_one_run_after_the_other_does(
    usual: Path, tmp_path: Path
) -> None:
    """Both train at the same time, in folders of their own, over one cache."""
    changes = {"fast": "train.learning_rate=5e-3", "slow": "train.learning_rate=1e-4"}
    folder = clone(usual, tmp_path / "queue/project")
    for name, change in changes.items():
        dvc(folder, "exp", "run", "--queue", "--name", name, "-S", change, "-S", "train.epochs=8")
    subprocess.run(  # with no pipe, which the workers would hold open to their end
        [*DVC, "queue", "start", "--jobs", "2"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    until = time.monotonic() + SECONDS
    # The first waits for the second, however long that takes to begin.
    stopped: dict[str, psutil.Process] = {}
    while len(stopped) < len(changes):
        assert time.monotonic() < until, dvc(folder, "queue", "status")
        for process in running("train", folder):
            with suppress(psutil.Error):
                if (where := process.cwd()) not in stopped:
                    process.suspend()
                    stopped[where] = process
        time.sleep(0.01)
    for process in stopped.values():
        process.resume()
    while (status := dvc(folder, "queue", "status")).count("Success") < len(changes):
        assert time.monotonic() < until, status
        assert "Failed" not in status
    assert git(folder, "status", "--porcelain") == ""  # the checkout itself is as it was

    alone = clone(usual, tmp_path / "alone/project")
    for name, change in changes.items():
        dvc(alone, "exp", "run", "--name", name, "-S", change, "-S", "train.epochs=8")
        dvc(folder, "exp", "apply", name)
        assert outcome(folder) == outcome(alone)
    assert outcome(folder) != outcome(usual)


def clone(committed: Path, folder: Path) -> Path:
    """Another checkout of a finished run, with its outputs."""
    folder.parent.mkdir()
    shutil.copytree(committed, folder, symlinks=True)
    return folder
