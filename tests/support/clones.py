"""Temporary clones of this project, and DVC and git in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.pipeline import PIPELINE, PROJECT, written


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
            shutil.copy(PROJECT / name, target)  # with its mode
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


def outcome(folder: Path) -> dict[str, bytes]:
    """What the stages have written, and the record of it in dvc.lock, by path."""
    files = [folder / "dvc.lock"]
    for path in (folder / name for stage in PIPELINE for name in written(stage)):
        files += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
