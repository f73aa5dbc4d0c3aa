"""The README's section for teams: its commands, run as they stand there by two colleagues."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from reward.harness.files import dvc_hash
from tests.support.clones import dvc, environment, git, ran
from tests.support.pipeline import PROJECT

MODEL = Path("data/model")


def blocks() -> list[str]:
    """The blocks of commands of the section, in their order."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Teams\n")[1].split("\n## ")[0]
    return re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)


class Team:
    """A folder with the project's repository and the place of its outputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project, self.store = folder / "project.git", folder / "store"

    def run(self, place: Path, commands: str) -> str:
        """Run a block as a user's shell does, which stops at the first failure."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=place,
            env=environment(place) | {"PROJECT": str(self.project), "STORE": str(self.store)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def name(self, place: Path) -> Path:
        git(place, "config", "user.name", place.name)
        git(place, "config", "user.email", f"{place.name}@example.org")
        return place


@pytest.fixture
def team(committed: Path, tmp_path: Path) -> Team:
    """One colleague, `first`, has cloned the project and has all of its outputs."""
    team = Team(tmp_path)
    git(tmp_path, "clone", "--quiet", "--bare", str(committed), str(team.project))
    git(tmp_path, "clone", "--quiet", str(team.project), "first")
    shutil.copytree(committed / ".dvc/cache", tmp_path / "first/.dvc/cache")
    dvc(team.name(tmp_path / "first"), "checkout", "--quiet")
    return team


@pytest.mark.slow
def test_the_commands_of_the_readme_work_for_two_colleagues(team: Team) -> None:
    set_up, join, push, take, release, elsewhere = blocks()
    first, second = team.folder / "first", team.folder / "reward"
    lock = (first / "dvc.lock").read_bytes()

    team.run(first, set_up)
    assert ran(team.run(team.folder, join)) == []  # what one has made, no other one makes again
    team.name(second)
    assert (second / "dvc.lock").read_bytes() == lock
    assert dvc_hash(second / MODEL) == dvc_hash(first / MODEL)

    ran_here = ran(dvc(first, "exp", "run", "--name", "shorter", "-S", "evaluate.confidence=0.9"))
    assert ran_here == ["choose", "evaluate", "checks", "report"]
    scores = Path("data/scores")
    assert dvc_hash(second / scores) != dvc_hash(first / scores)
    team.run(first, push)
    team.run(second, take)
    assert dvc_hash(second / scores) == dvc_hash(first / scores)
    dvc(second, "status", "--quiet")  # exits with 1 where something is out of date
    lock_of = git(second, "show", "shorter-texts:dvc.lock")
    assert lock_of == (first / "dvc.lock").read_text(encoding="utf-8")

    team.run(first, release)
    other = team.folder / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    dvc(other, "init", "--quiet")
    team.run(other, elsewhere)
    for name in ("released", "model", "reward-model"):
        assert dvc_hash(other / name) == dvc_hash(second / MODEL)
    opened = AutoModelForSequenceClassification.from_pretrained(other / "released")
    assert opened.num_labels == 1
    assert all(torch.isfinite(weight).all() for weight in opened.parameters())
    assert os.fspath(team.project) in (other / "reward-model.dvc").read_text(encoding="utf-8")
