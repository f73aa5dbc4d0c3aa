"""setup_check.py: every finding, and the whole report as a process."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import setup_check
from reward.training.machine import this_machine

BIN = Path(sys.executable).parent


class AnyAnswer(BaseHTTPRequestHandler):
    """A hub that is up and knows nothing."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), AnyAnswer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def report(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the project's setup_check.py with this interpreter as `python`."""
    return subprocess.run(
        [sys.executable, "setup_check.py"],
        cwd=project,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one commit that holds what the check reads, and one DVC stage."""
    for name in ["setup_check.py", "requirements.txt", ".dvc/config"]:
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(setup_check.PROJECT / name, target)
    shutil.copytree(setup_check.PROJECT / "reward", tmp_path / "reward")
    (tmp_path / "dvc.yaml").write_text("stages: {greet: {cmd: echo hello}}\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "start")
    return tmp_path


def test_whole_report_on_a_ready_machine(project: Path, endpoint: str) -> None:
    result = report(project, HF_ENDPOINT=endpoint)
    assert result.stderr == ""
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert "Ready: dvc repro runs what changed." in lines
    values = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines if "  " in line)
    assert values["torch"].startswith("2.")
    assert values["DVC"] == "ready, 1 stages"
    assert values["Hub"] == f"{endpoint} reachable"
    assert "GiB memory" in values["Device"]
    assert "float32 weights" in values["Number format"]
    assert values["Model"].startswith("none here")


def test_each_broken_thing_gets_one_sentence(project: Path) -> None:
    (project / "requirements.txt").write_text("pydantic==0.1\nno-such-library==1.0\n")
    (project / "dvc.yaml").write_text("stages: [not, a, mapping]\n")
    shutil.rmtree(project / ".git")
    result = report(project, HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 1
    problems = result.stderr.splitlines()
    assert len(problems) == 4
    assert problems[0].startswith("pydantic is 2.")
    assert problems[1] == (
        "no-such-library is not installed, but 1.0 is needed: "
        "run python -m pip install no-such-library==1.0."
    )
    assert "has no git commit" in problems[2]
    assert problems[3].startswith("DVC cannot read the stages")
    assert "http://127.0.0.1:9 not reachable" in result.stdout
    assert "Ready" not in result.stdout


def test_works_without_any_library(project: Path) -> None:
    """-S leaves only the standard library and the project: the report is still whole."""
    result = subprocess.run(
        [sys.executable, "-S", "setup_check.py"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "torch is not installed" in result.stderr
    assert "The device cannot be chosen (No module named " in result.stderr
    assert "not asked without huggingface_hub" in result.stdout


def test_a_model_from_another_machine_is_said_to_be(tmp_path: Path) -> None:
    record = tmp_path / "machine.json"
    record.write_text(json.dumps(this_machine()), encoding="utf-8")
    assert setup_check.check_model(record).value == "trained on a machine like this one"
    threads = this_machine()["threads"]
    record.write_text(json.dumps(this_machine() | {"threads": threads + 1}), encoding="utf-8")
    finding = setup_check.check_model(record)
    assert finding.value == f"trained elsewhere (threads {threads + 1}, here {threads})"
    assert finding.problem is None


def test_another_python_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor = tmp_path / "python"
    impostor.write_text("#!/bin/sh\necho /elsewhere\n")
    impostor.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = setup_check.check_command().problem
    assert problem is not None
    assert f"starts {impostor}" in problem
    assert f"put {BIN} first on PATH" in problem
    monkeypatch.setenv("PATH", str(BIN))
    assert setup_check.check_command().problem is None


def test_old_python() -> None:
    assert setup_check.check_python((3, 11, 0)).problem is None
    assert setup_check.check_python((3, 10, 13)).problem == (
        "Python is 3.10.13, but the project needs 3.11 or newer: "
        "install one and run make PYTHON=python3.11 repro."
    )


def test_full_disk() -> None:
    assert setup_check.check_disk(2**30).problem is None
    assert setup_check.check_disk(2**29).problem == (
        "The disk has 0.5 GiB free, but a run needs 1.0 GiB: free some."
    )


def test_local_build_label_is_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cpu")
    assert setup_check.check_library("torch", "2.13.0").problem is None
    assert setup_check.check_library("torch", "2.13").problem == (
        "torch is 2.13.0+cpu, not 2.13: run python -m pip install torch==2.13."
    )


@pytest.mark.parametrize("endpoint_text", ["no-scheme", "http://127.0.0.1:9"])
def test_hub_out_of_reach_is_never_broken(
    endpoint_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint_text)
    finding = setup_check.check_hub()
    assert finding.problem is None
    assert "not reachable" in finding.value
