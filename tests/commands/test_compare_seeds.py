"""reward.compare --seeds on experiments that a real queue of DVC has run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Twelve pairs, of which a run gets the first RIGHT right, or one more with an odd seed.
STAGE = """
import pathlib, pyarrow as pa, pyarrow.parquet as pq, yaml
params = yaml.safe_load(open("params.yaml"))
train = params["train"]
seed = params["seed"] if train["seed"] is None else train["seed"]
right = train["right"] + seed % 2
pathlib.Path("data/scores").mkdir(parents=True)
chosen = [1.0 if pair < right else -1.0 for pair in range(12)]
ids = [f"p{pair:02}" for pair in range(12)]
columns = {"pair_id": ids, "prompt_id": ids, "chosen_score": chosen, "rejected_score": [0.0] * 12}
table = pa.table(columns)
pq.write_table(table, "data/scores/validation.parquet")
"""
PARAMS = {"seed": 42, "launcher": "python", "train": {"seed": None, "right": 3}}
PIPELINE = f"""
stages:
  train:
    cmd: {sys.executable} evaluate.py
    deps: [evaluate.py]
    params: [seed, train]
    outs: [data/scores]
"""

pytestmark = pytest.mark.slow  # the queue takes its time

Call = Callable[..., tuple[int, str, str]]


def shell(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def dvc(folder: Path, *command: str) -> None:
    shell(folder, sys.executable, "-m", "dvc", *command)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the experiments base-1, base-2, more-1 and more-2, of a queue."""
    folder = tmp_path_factory.mktemp("project")
    shell(folder, "git", "init", "-q")
    shell(folder, "git", "config", "user.email", "a@example.org")
    shell(folder, "git", "config", "user.name", "a")
    dvc(folder, "init", "-q")
    (folder / "evaluate.py").write_text(STAGE, encoding="utf-8")
    (folder / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (folder / "params.yaml").write_text(json.dumps(PARAMS), encoding="utf-8")
    (folder / ".gitignore").write_text("/data\n", encoding="utf-8")
    dvc(folder, "repro", "-q")
    shell(folder, "git", "add", ".")
    shell(folder, "git", "commit", "-qm", "state")
    seeds = "train.seed=range(1,3)"
    dvc(folder, "exp", "run", "--queue", "-n", "base", "-S", seeds)
    dvc(folder, "exp", "run", "--queue", "-n", "more", "-S", seeds, "-S", "train.right=8")
    dvc(folder, "exp", "run", "--run-all", "-j", "1")
    shell(folder, "git", "checkout", "-qb", "later")
    (folder / "evaluate.py").write_text(f"{STAGE}# changed\n", encoding="utf-8")
    dvc(folder, "repro", "-q")
    shell(folder, "git", "commit", "-qam", "code of its own")
    shell(folder, "git", "checkout", "-q", "-")
    dvc(folder, "checkout", "-q")
    return folder


@pytest.fixture
def call(project: Path, call: Callable[..., subprocess.CompletedProcess[str]]) -> Call:
    def in_project(*arguments: str) -> tuple[int, str, str]:
        done = call(project, *arguments)
        return done.returncode, done.stdout, done.stderr

    return in_project


def test_experiments_of_a_range_are_a_group(call: Call) -> None:
    status, printed, errors = call("base", "more", "--seeds")
    assert status == 0, errors
    lines = printed.splitlines()
    assert lines[:3] == [
        "A: base-1 (seed 1), base-2 (seed 2)",
        "B: more-1 (seed 1), more-2 (seed 2)",
        "differ in: train.right (3, 8)",
    ]
    # 4 and 3 of 12 are right, and 9 and 8.
    assert lines[5].startswith("accuracy  0.2917 ± 0.0589  0.7083 ± 0.0589  +0.4167  [+0.")
    assert lines[8] == "12 pairs; mean ± standard deviation over the seeds"
    assert lines[9].startswith("accuracy: the setting explains the difference: ")


def test_revisions_may_be_named_one_by_one_and_in_json(call: Call) -> None:
    status, printed, errors = call("base-2,HEAD", "more-2,more-1", "--seeds", "--json")
    assert status == 0, errors
    result = json.loads(printed)
    assert result["seeds_a"] == {"base-2": 2, "HEAD": 42}  # `seed`, where train.seed is empty
    assert result["seeds_b"] == {"more-2": 2, "more-1": 1}
    assert result["settings"] == {"train.right": [3, 8]}
    assert result["accuracy"]["difference"] == pytest.approx((8 + 9 - 3 - 3) / 24)


def test_one_run_a_side_is_the_plain_comparison(call: Call) -> None:
    assert call("base-1", "more-2", "--seeds") == call("base-1", "more-2")


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ("base", "more-1", "more-1 is one run, which does not show what its seed does"),
        ("base-1,more-2", "more", "base-1 and more-2 differ in train.right (3 and 8): "),
        ("base-1,later", "more", "base-1 and later differ in files.evaluate.py ("),
        ("base-1,base-1", "more", "base-1 and base-1 both have the seed 1, so that "),
        ("nowhere", "more", "nowhere is no branch, tag, commit or experiment of this project"),
    ],
)
def test_what_is_no_group_is_refused(call: Call, a: str, b: str, sentence: str) -> None:
    status, printed, errors = call(a, b, "--seeds")
    assert (status, printed) == (1, "")
    assert errors.startswith(f"compare: {sentence}")
    assert len(errors.splitlines()) == 1
