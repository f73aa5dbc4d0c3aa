"""`dvc repro` that is killed, or whose stage is, and the `dvc repro` after it."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reward.harness.files import dvc_hash
from tests.support.clones import commit, dvc, environment, git, ran, small_copy
from tests.support.pipeline import PIPELINE, PROJECT, written
from tests.support.runs import read_params, write_params

pytestmark = pytest.mark.slow

KILL, TERM, INTERRUPT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# Each stage, and each of: itself, its group as a terminal's Ctrl-C or a batch system ends it, and
# DVC alone, whose stage then goes on by itself while the next `dvc repro` runs.
CASES = [
    ("download", "stage", KILL),
    ("download", "group", INTERRUPT),
    ("split", "group", KILL),
    ("split", "dvc", KILL),
    ("tokenize", "stage", TERM),
    ("testsets", "group", TERM),
    ("stats", "group", KILL),
    ("train", "stage", TERM),
    ("train", "group", KILL),
    ("train", "group", INTERRUPT),
    ("train", "dvc", KILL),
    ("evaluate", "group", KILL),
    ("evaluate", "stage", INTERRUPT),
    ("report", "group", INTERRUPT),
    ("report", "dvc", TERM),
]


class Clone:
    """A small clone after a run, in which `python` is tests/support/operations.py."""

    def __init__(self, folder: Path):
        self.folder = small_copy(folder / "project")
        params = read_params(self.folder)
        params["max_length"] = 64
        params["train"] |= {"epochs": 1, "batch_pairs": 16, "checkpoint_steps": 2}
        write_params(self.folder, params)
        self.noted = folder / "noted"
        self.noted.mkdir()
        (folder / "bin").mkdir()
        python = folder / "bin/python"
        script = PROJECT / "tests/support/operations.py"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        self.path = str(folder / "bin")
        done, printed = self.repro()
        assert done == 0, printed
        commit(self.folder)
        self.hashes = self.all_hashes()
        self.operations = {
            stage: (self.noted / f"stages.{stage}").read_text().splitlines() for stage in PIPELINE
        }

    def all_hashes(self) -> dict[str, str]:
        return {path: dvc_hash(self.folder / path) for stage in PIPELINE for path in written(stage)}

    def start(self, *arguments: str, ending: str = "") -> subprocess.Popen[str]:
        own = environment(self.folder)
        own |= {"PATH": f"{self.path}{os.pathsep}{own['PATH']}", "OPERATIONS": str(self.noted)}
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", *arguments],
            cwd=self.folder,
            env=own | {"ENDING": ending},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def repro(self, *arguments: str, ending: str = "") -> tuple[int, str]:
        process = self.start(*arguments, ending=ending)
        printed, _ = process.communicate(timeout=300)
        return process.returncode, printed


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone"))


def still_running(clone: Clone, stage: str) -> list[psutil.Process]:
    """The processes of a stage that DVC has left behind."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if f"stages.{stage}" in words and process.info["cwd"] == str(clone.folder):
            found.append(process)
    return found


@pytest.mark.parametrize(("stage", "whom", "number"), CASES)
def test_the_next_run_gives_what_an_undisturbed_one_does(
    clone: Clone, stage: str, whom: str, number: signal.Signals
) -> None:
    done = clone.operations[stage]
    # Late: outputs are written, and the last of them is not yet in its place.
    moves = [at for at, name in enumerate(done) if name.startswith(("rename", "replace"))]
    at = moves[len(moves) // 2] if stage == "train" else moves[-1]
    code, printed = clone.repro("-s", "-f", stage, ending=f"stages.{stage} {at} {number} {whom}")
    # It hit: the operation was begun, and no other after it by a process that it ended.
    begun = (clone.noted / f"stages.{stage}").read_text().splitlines()
    assert len(begun) > at
    if number == KILL and whom != "dvc":
        assert len(begun) == at + 1
    assert code != 0, printed
    if whom != "stage" and number == KILL:
        assert code == -KILL
    lock = git(clone.folder, "diff", "HEAD", "--stat", "--", "dvc.lock")
    assert not lock  # nothing that is not there is recorded as done

    if whom == "dvc":
        # The stage is on its own: the next run may fail beside it, and is never wrong.
        clone.repro("-s", "-f", stage)
        psutil.wait_procs(still_running(clone, stage), timeout=300)
    # By force: DVC has the results of the undisturbed run and would only take them out again.
    code, printed = clone.repro("-s", "-f", stage)
    assert code == 0, printed
    assert ran(printed) == [stage]
    assert clone.all_hashes() == clone.hashes
    dvc(clone.folder, "status", "--quiet")
    assert not git(clone.folder, "status", "--porcelain")
    assert not list((clone.folder / ".checkpoints").glob("*"))
    assert not [
        file
        for place in ("data", "metrics")
        for file in clone.folder.glob(f"{place}/.*")
        if file.name.endswith(".partial")
    ]
