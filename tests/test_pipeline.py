"""Whole runs in temporary clones."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline import PIPELINE, PROJECT, written


def environment(folder: Path) -> dict[str, str]:
    """That of a user: `python` is this interpreter and there is no hub."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "HF_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # byte code beside the sources must change nothing
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(folder.parent / "hub"),
    }


def execute(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC, which must succeed, and give back what it printed."""
    done = execute(folder, sys.executable, "-m", "dvc", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    done = execute(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ran(output: str) -> list[str]:
    """The stages that DVC really ran, by what it printed, in the order of dvc.yaml."""
    names = re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE)
    return sorted(names, key=list(PIPELINE).index)


def copy_of_project(folder: Path) -> Path:
    """A fresh repository with this working tree's files and one commit: a clone before its run."""
    names = git(PROJECT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, names.split("\0")):
        if (PROJECT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((PROJECT / name).read_bytes())
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "test")
    git(folder, "config", "user.email", "test@example.org")
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "state")


def small_copy(folder: Path) -> Path:
    """A clone with every tenth pair of the sample, so that a run takes seconds."""
    copy_of_project(folder)
    sample = folder / "data/sources/sample.jsonl"
    lines = sample.read_text(encoding="utf-8").splitlines(keepends=True)
    sample.write_text("".join(lines[::10]), encoding="utf-8")
    commit(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone after its first `dvc repro`, with the results not committed yet."""
    folder = small_copy(tmp_path_factory.mktemp("finished") / "project")
    assert ran(dvc(folder, "repro")) == list(PIPELINE)
    return folder


@pytest.fixture(scope="module")
def committed(finished: Path) -> Path:
    """The same with the results committed: the state that experiments start from."""
    commit(finished)
    return finished


@pytest.fixture
def project(committed: Path) -> Iterator[Path]:
    """The same for one test, which may change it."""
    yield committed
    git(committed, "reset", "--hard", "--quiet")
    dvc(committed, "checkout", "--force", "--quiet")


@pytest.mark.slow
def test_a_run_leaves_only_results_in_git(finished: Path) -> None:
    changed = {line[3:] for line in git(finished, "status", "--porcelain").splitlines()}
    results = {path for name in PIPELINE for path in written(name) if path.startswith("metrics/")}
    assert changed <= {"dvc.lock", "metrics/", *results}
    assert all((finished / path).is_file() for path in results)


@pytest.mark.slow
def test_nothing_runs_when_nothing_changed(project: Path) -> None:
    dvc(project, "status", "--quiet")  # exits with 1 where something is out of date
    assert ran(dvc(project, "repro")) == []
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.slow
def test_max_length_reruns_what_sees_tokens_and_going_back_runs_nothing(project: Path) -> None:
    output = dvc(project, "exp", "run", "-S", "max_length=128")
    assert ran(output) == ["tokenize", "stats", "train", "evaluate"]
    differences = json.loads(dvc(project, "metrics", "diff", "--json"))
    assert "accuracy" in differences["metrics/evaluate.json"]
    assert any(key.startswith("tokens.") for key in differences["metrics/stats.json"])
    assert ran(dvc(project, "exp", "run", "-S", "max_length=256")) == []
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.slow
def test_learning_rate_reruns_train_and_evaluate(project: Path) -> None:
    # DVC writes 1e-05, which PyYAML reads as text: the parameter class makes it a number again.
    output = dvc(project, "exp", "run", "-S", "train.learning_rate=1e-5")
    assert ran(output) == ["train", "evaluate"]
    dvc(project, "status", "--quiet")


@pytest.mark.slow
def test_an_unused_entry_reruns_nothing(project: Path) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    assert "revision: main" in text
    params.write_text(text.replace("revision: main", "revision: other"), encoding="utf-8")
    assert ran(dvc(project, "repro")) == []


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_in_another_clone(committed: Path, tmp_path: Path) -> None:
    """dvc.lock, which holds a hash of every output, stays as committed: data, model, metrics."""
    git(tmp_path, "clone", "--quiet", str(committed), "clone")
    assert ran(dvc(tmp_path / "clone", "repro", "--force")) == list(PIPELINE)
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_killed_temporary_experiment_goes_on_from_its_checkpoint(project: Path) -> None:
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp"]
    command += ["-S", "train.epochs=30", "-S", "train.checkpoint_steps=2"]
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not list(project.glob(".checkpoints/*/*/complete")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(project.glob(".checkpoints/*/*/complete"))
    done = execute(project, *command)
    assert done.returncode == 0, done.stderr
    assert "goes on from its checkpoint-" in done.stdout + done.stderr
    assert not list(project.glob(".checkpoints/*"))
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.slow
def test_two_processes_score_every_pair_once_and_alike(project: Path) -> None:
    launcher = "accelerate launch --num_processes 2 --num_machines 1 --cpu --mixed_precision no"
    launcher += " --dynamo_backend no --main_process_port 0"
    one = pq.read_table(project / "data/scores/validation.parquet").to_pydict()
    output = dvc(project, "exp", "run", "-S", f"launcher='{launcher}'")
    assert ran(output) == ["train", "evaluate"]
    two = pq.read_table(project / "data/scores/validation.parquet").to_pydict()
    assert two["pair_id"] == one["pair_id"]
    for side in ("chosen_score", "rejected_score"):
        assert two[side] == pytest.approx(one[side], abs=1e-3)


@pytest.mark.slow
def test_unknown_dataset_ends_in_one_sentence(project: Path) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("dataset: sample", "dataset: nonsense", 1), encoding="utf-8")
    done = execute(project, sys.executable, "-m", "dvc", "repro")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1
    assert "nonsense" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_lock_file_is_that_of_this_code(tmp_path: Path) -> None:
    """What is committed as the last run's record belongs to the committed code and parameters."""
    clone = copy_of_project(tmp_path / "clone")
    assert "Running stage" not in dvc(clone, "repro", "--dry", "--allow-missing")
