"""reward.evaluation.accuracies: two runs' accuracies on sets and their parts, side by side."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from reward.evaluation.accuracies import describe_sets, read_sets, side_by_side
from reward.harness.errors import InputError


def part(accuracy: float, pairs: int, **more: Any) -> dict[str, Any]:
    return {"accuracy": accuracy, "pairs": pairs, **more}


HARD = {
    "subsets": {"law": part(0.5, 4), "odd\x1b[2J": part(0.25, 8)},
    "best_of_n": {"accuracy": 0.4, "prompts": 10},
    "benchmark": {"score": 0.375, "sections": {"Law": {"prompts": 4}, "Odd": {"prompts": 8}}},
}
A = {
    "measured": part(0.75, 100),
    "testsets": {"easy": part(0.5, 50), "hard": part(0.25, 12, **HARD)},
}
B = {
    "measured": part(0.75, 100, datasets={"one": part(0.7, 60), "two": part(0.8, 40)}),
    "testsets": {
        "hard": part(0.5, 13, **HARD | {"subsets": {"law": part(0.75, 4), "new": part(1.0, 1)}}),
        "other": part(0.125, 8),
    },
}


def test_what_either_run_has_stands_with_its_set() -> None:
    rows = side_by_side(A, B)
    assert [(row["set"], row["part"], row["difference"]) for row in rows] == [
        ("easy", None, None),
        ("hard", None, 0.25),
        ("hard", "score", 0),
        ("hard", "best of n", 0),
        ("hard", "subset law", 0.25),
        ("hard", "subset odd\x1b[2J", None),
        ("hard", "subset new", None),
        ("validation pairs", None, None),
        ("validation pairs", "dataset one", None),
        ("validation pairs", "dataset two", None),
        ("other", None, None),
    ]
    assert rows[1] == {
        "set": "hard",
        "part": None,
        "count_a": 12,
        "count_b": 13,
        "accuracy_a": 0.25,
        "accuracy_b": 0.5,
        "difference": 0.25,
    }


def test_the_table_is_aligned_and_steers_no_terminal() -> None:
    assert describe_sets(side_by_side(A, B)[:7], "HEAD", "mine") == [
        "",
        "accuracy on            HEAD    mine  difference  pairs or prompts",
        "easy                 0.5000       –           –                50",
        "hard                 0.2500  0.5000     +0.2500         12 and 13",
        "  score              0.3750  0.3750     +0.0000                12",
        "  best of n          0.4000  0.4000     +0.0000                10",
        "  subset law         0.5000  0.7500     +0.2500                 4",
        "  subset odd\\x1b[2J  0.2500       –           –                 8",
        "  subset new              –  1.0000           –                 1",
    ]


def test_one_dataset_and_no_test_set_make_no_table() -> None:
    alone = {"measured": part(0.75, 100), "testsets": {}}
    assert describe_sets(side_by_side(alone, alone), "a", "b") == []


def test_details_of_two_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data/scores/details.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(A), encoding="utf-8")
    for command in (
        ["init", "-q"],
        ["config", "user.name", "a"],
        ["config", "user.email", "a@example.org"],
        ["add", "."],
        ["commit", "-qm", "one"],
    ):
        subprocess.run(["git", *command], check=True)
    Repo.init(".").close()
    path.write_text(json.dumps(B), encoding="utf-8")
    scores = "data/scores/validation.parquet"
    assert read_sets("HEAD", "workspace", scores) == side_by_side(A, B)
    assert read_sets("HEAD", "workspace", "elsewhere/mine.parquet") == []
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"details\.json of workspace cannot be read"):
        read_sets("HEAD", "workspace", scores)
