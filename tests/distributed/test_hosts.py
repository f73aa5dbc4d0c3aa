"""Two hosts, one process on each, DVC driving them through examples/launch_ssh.sh.

The hosts are network namespaces; `ip netns exec` reaches them in place of ssh.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reward.evaluation.scores import Score
from tests.support.clones import commit, dvc, environment, ran, small_copy
from tests.support.hosts import Hosts, two_hosts, why_not
from tests.support.runs import curve, read_params, write_params

pytestmark = pytest.mark.slow

REASON = why_not()
LAUNCHER = "examples/launch_ssh.sh"
EPOCHS = 3
LIMIT = 20  # seconds, more than a busy host may lag behind the other
LONG = 300  # seconds, more than a run takes
GOES_ON = "train: a run that was cut off goes on from its checkpoint-"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    if REASON:
        pytest.skip(REASON)
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which all that states, train and evaluate read is there."""
    folder = small_copy(tmp_path_factory.mktemp("prepared") / "project")
    params = read_params(folder)
    params["max_length"] = 64
    params["train"] |= {"epochs": EPOCHS, "batch_pairs": 16, "checkpoint_steps": 4}
    params["train"]["micro_batch_tokens"]["cpu"] = 200
    write_params(folder, params)
    commit(folder)
    dvc(folder, "repro", "tokenize", "testsets")
    commit(folder)
    return folder


def launched_by(folder: Path, *launcher: str) -> str:
    """The launcher's value: each process asserts that it is one of two."""
    return " ".join((*launcher, "tests/support/counted.py", "2", str(folder.parent / "ranks")))


def networks(folder: Path) -> dict[str, str]:
    """The network of each process that worked to its end, by stage and rank."""
    return {file.name: file.read_text() for file in (folder.parent / "ranks").iterdir()}


@pytest.fixture(scope="module")
def one_host(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes on one host find."""
    folder = tmp_path_factory.mktemp("one") / "project"
    shutil.copytree(prepared, folder)
    launcher = launched_by(folder, "torchrun", "--standalone", "--nproc_per_node", "2")
    dvc(folder, "exp", "run", "-S", f"launcher='{launcher}'", "evaluate")
    return folder


@pytest.fixture(scope="module")
def both(prepared: Path, hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process on each of two hosts finds."""
    folder = tmp_path_factory.mktemp("two") / "project"
    shutil.copytree(prepared, folder)
    launcher = launched_by(folder, LAUNCHER)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in hosts.settings().items():
            patch.setenv(name, value)
        output = dvc(folder, "exp", "run", "-S", f"launcher='{launcher}'", "evaluate")
    assert ran(output) == ["choose", "states", "train", "evaluate"]
    return folder


def test_two_hosts_find_what_one_finds(one_host: Path, both: Path) -> None:
    names = [f"{stage}-{rank}" for stage in ("evaluate", "states", "train") for rank in (0, 1)]
    apart, together = networks(both), networks(one_host)
    assert sorted(apart) == sorted(together) == names
    assert len(set(together.values())) == 1
    assert apart["train-0"] == apart["evaluate-0"] != apart["train-1"] == apart["evaluate-1"]
    rows, expected = curve(both), curve(one_host)
    assert len(rows) == len(expected) > EPOCHS
    for name in ("loss", "accuracy", "margin", "learning_rate"):
        np.testing.assert_allclose(
            [float(row[name]) for row in rows],
            [float(row[name]) for row in expected],
            rtol=0,
            atol=1e-5,
        )
    scores = pq.read_table(both / "data/scores/validation.parquet")
    others = pq.read_table(one_host / "data/scores/validation.parquet")
    assert scores[Score.PAIR_ID] == others[Score.PAIR_ID]
    for side in (Score.CHOSEN_SCORE, Score.REJECTED_SCORE):
        np.testing.assert_allclose(scores[side], others[side], rtol=0, atol=1e-5)


class Run:
    """`dvc repro train` over both hosts, in the background, in a copy that gets the launcher."""

    def __init__(self, folder: Path, hosts: Hosts, time_limit: int):
        self.folder, self.hosts = folder, hosts
        values = {"launcher": launched_by(folder, LAUNCHER), "process_timeout": time_limit}
        write_params(folder, read_params(folder) | values)
        self.before = self.checkpoints()
        self.printed = folder.parent / "printed"
        with self.printed.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro", "train"],
                cwd=folder,
                env=environment(folder) | hosts.settings(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def checkpoints(self) -> set[Path]:
        return {*self.folder.glob(".checkpoints/*/*/complete")}

    def wait_for_a_checkpoint(self) -> None:
        """Until there is one that was not there at the start; both hosts are at work then."""
        while self.checkpoints() <= self.before:
            assert self.process.poll() is None, self.printed.read_text()
            time.sleep(0.005)
        assert self.hosts.processes(0)
        assert self.hosts.processes(1)

    def end(self) -> tuple[float, str]:
        """Seconds that it still took, and what it printed."""
        start = time.monotonic()
        self.process.wait(timeout=2 * LONG)
        return time.monotonic() - start, self.printed.read_text()

    def fail(self) -> tuple[float, str, list[str]]:
        """The same for a run that must fail and leave nothing but checkpoints; the last are the
        sentences by which the stage said why.
        """
        seconds, printed = self.end()
        print(f"ended after {seconds:.1f} s\n{printed}")
        assert self.process.returncode > 0
        assert "Traceback" not in printed
        assert not (self.folder / "data/model").exists()
        assert not list((self.folder / "data").glob(".*.partial"))
        ranks = self.folder.parent / "ranks"
        assert not list(ranks.glob("train-*"))
        shutil.rmtree(ranks, ignore_errors=True)  # of states, which runs where a setting is new
        assert self.checkpoints()
        # What watched a process on its host is asleep for a second.
        limit = time.monotonic() + 30
        while left := [*self.hosts.processes(0), *self.hosts.processes(1)]:
            assert time.monotonic() < limit, left
            time.sleep(0.1)
        said = [line for line in printed.splitlines() if line.startswith("train: ")]
        return seconds, printed, [line for line in said if GOES_ON not in line]


def test_a_run_goes_on_after_it_lost_each_host_and_the_link(
    prepared: Path, hosts: Hosts, both: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(prepared, folder)
    for lost in (1, 0):
        run = Run(folder, hosts, time_limit=LONG)
        run.wait_for_a_checkpoint()
        assert hosts.kill(lost)
        seconds, printed, said = run.fail()
        # The kill hit: 137 is 128 and the number of SIGKILL.
        killed = f"launch_ssh.sh: process {lost} on {hosts.names[lost]} ended with exit status 137"
        assert killed in printed.splitlines()
        assert seconds < LONG / 2  # by the loss itself: nobody waited for the time limit
        assert len(said) == 1
        assert said[0].startswith("train: another process was lost")
        assert (GOES_ON in printed) == (lost == 0)  # the second of these runs

    run = Run(folder, hosts, time_limit=LIMIT)
    run.wait_for_a_checkpoint()
    hosts.cut()
    try:
        seconds, printed, said = run.fail()
    finally:
        hosts.connect()
    assert LIMIT / 2 < seconds < LIMIT + LONG / 2
    assert len(said) == 2  # one a host
    for sentence in said:
        assert sentence.startswith("train: another process was lost")
        # By which of gloo's two time limits it noticed is up to the moment of the cut.
        assert re.search(
            rf"process_timeout={LIMIT} seconds \((Timed out waiting|Application timeout)", sentence
        )
    assert GOES_ON in printed

    _, printed = Run(folder, hosts, time_limit=LONG).end()
    assert GOES_ON in printed
    assert sorted(networks(folder)) == ["train-0", "train-1"], printed
    for file in ("metrics/train_curve.csv", "metrics/train.json", "data/model/model.safetensors"):
        assert (folder / file).read_bytes() == (both / file).read_bytes()
    assert not list((folder / ".checkpoints").iterdir())
