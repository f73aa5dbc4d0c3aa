import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from reward.compare import describe, main
from reward.evaluation.comparison import bootstrap, compare, match
from reward.harness.errors import InputError

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {"confidence": 0.95, "resamples": 10_000, "seed": 0, "top": 10}

STAGE = """
import sys, pyarrow as pa, pyarrow.parquet as pq, pathlib, yaml
rows = yaml.safe_load(open("params.yaml"))["rows"]
pathlib.Path("data/scores").mkdir(parents=True)
ids, chosen, rejected = zip(*rows)
columns = {"pair_id": ids, "prompt_id": ids, "chosen_score": chosen, "rejected_score": rejected}
table = pa.table(columns)
pq.write_table(table, "data/scores/validation.parquet")
"""
PIPELINE = """
stages:
  evaluate:
    cmd: python evaluate.py
    params: [rows]
    outs: [data/scores]
"""
# Margins by pair: base +1 +2 -1 0, better +1 -3 +2 +1 (in another order).
BASE = [["p1", 1.0, 0.0], ["p2", 2.0, 0.0], ["p3", 0.0, 1.0], ["p4", 5.0, 5.0]]
BETTER = [["p4", 1.0, 0.0], ["p3", 2.0, 0.0], ["p2", 0.0, 3.0], ["p1", 1.0, 0.0]]


def shell(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder, *command):
    return shell(folder, sys.executable, "-m", "dvc", *command)


def save(folder, rows, tag):
    (folder / "params.yaml").write_text(json.dumps({"rows": rows}))
    if rows:
        dvc(folder, "repro", "-q")
    shell(folder, "git", "add", ".")
    shell(folder, "git", "commit", "-qm", tag)
    shell(folder, "git", "tag", tag)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A repository with the tags empty, base and smaller, an experiment and workspace = better."""
    folder = tmp_path_factory.mktemp("project")
    shell(folder, "git", "init", "-q")
    shell(folder, "git", "config", "user.email", "a@example.org")
    shell(folder, "git", "config", "user.name", "a")
    dvc(folder, "init", "-q")
    (folder / "evaluate.py").write_text(STAGE)
    (folder / "dvc.yaml").write_text(PIPELINE.replace("python", sys.executable))
    (folder / ".gitignore").write_text("/data\n")
    save(folder, [], "empty")
    save(folder, [["p1", 1.0, 0.0], ["p9", 1.0, 0.0]], "smaller")
    save(folder, BASE, "base")
    dvc(folder, "exp", "run", "-q", "-n", "swapped", "-S", "rows.0=[p1,0.0,1.0]")
    (folder / "params.yaml").write_text(json.dumps({"rows": BETTER}))
    dvc(folder, "repro", "-q")
    return folder


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "reward.compare", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_a_commit_against_the_workspace(project):
    done = run(project, "base", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["rev_a"], result["rev_b"], result["pairs"]) == ("base", "workspace", 4)
    assert result["accuracy_a"] == 2.5 / 4
    assert result["accuracy_b"] == 3 / 4
    assert result["accuracy_difference"] == 0.125
    # p3 and the tie p4 became better, p2 worse: P(at least 2 of 3 or at most 1 of 3) = 1.
    assert (result["better"], result["worse"], result["mcnemar_p"]) == (2, 1, 1)
    assert result["agreement"] == 1 / 4
    assert [(flip["pair_id"], flip["margin_a"], flip["margin_b"]) for flip in result["flips"]] == [
        ("p2", 2, -3),
        ("p3", -1, 2),
        ("p4", 0, 1),
    ]


def test_an_experiment_by_its_name(project, call):
    done = call(project, "base", "swapped", "--json", "--top", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["accuracy_difference"] == -0.25
    assert result["flips"] == [{"pair_id": "p1", "margin_a": 1, "margin_b": -1}]
    # Only p1's loss changed: by softplus(1) - softplus(-1) = 1.
    assert result["log_loss_difference"] == pytest.approx(1 / 4)


def test_the_text_names_both_revisions_and_the_flipped_pairs(project, call):
    done = call(project, "base", "swapped")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "            base  swapped  difference (95%)",
        "accuracy  0.6250   0.3750  -0.2500  [-0.7500, +0.0000]",
    ]
    assert "4 pairs, both agree on 75.0%; 0 became better, 1 worse" in done.stdout
    assert done.stdout.splitlines()[-1] == "p1              +1.000    -1.000"


def test_different_validation_sets_need_leave(project, call):
    refused = call(project, "smaller", "base")
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        "compare: the validation sets differ (2 and 4 pairs, 1 in common): "
        "compare revisions of the same split, or pass --intersection."
    )
    allowed = call(project, "smaller", "base", "--intersection", "--json")
    assert json.loads(allowed.stdout)["pairs"] == 1
    assert json.loads(allowed.stdout)["log_loss_difference_low"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere is no branch, tag, commit or experiment of this project"),
        (["empty"], "empty has no data/scores/validation.parquet: take another revision"),
        (["base", "--scores", "evaluate.py"], "evaluate.py of base is no parquet file"),
    ],
)
def test_a_revision_without_scores_is_one_sentence(project, call, arguments, sentence):
    done = call(project, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "wrong", [("--confidence", "95"), ("--resamples", "0"), ("--top", "-1"), ("--seed", "-1")]
)
def test_values_out_of_range_are_refused(wrong, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare", "HEAD", *wrong])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "--confidence is between 0 and 1" in capsys.readouterr().err


def test_scores_that_are_not_in_the_cache_name_the_cure(project, call, tmp_path):
    # A clone has no cache at all; the copy has lost its cache and its working tree.
    shell(tmp_path, "git", "clone", "-q", str(project), "clone")
    shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / ".dvc" / "cache")
    shutil.rmtree(tmp_path / "copy" / "data")
    for folder, rev, cure in [
        ("clone", "base", "`git checkout base` (`dvc exp apply base` for an experiment), run"),
        ("copy", "base", "`git checkout base` (`dvc exp apply base` for an experiment), run"),
        ("copy", "workspace", "run"),
    ]:
        done = call(tmp_path / folder, rev)
        assert done.returncode == 1
        assert done.stderr.strip() == (
            f"compare: data/scores/validation.parquet of {rev} is in neither the cache nor a "
            f"remote: {cure} `dvc pull`, or `dvc repro` to make it again."
        )


def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_pairs():
    # 1 better and 9 worse of 12: p = 2 * (1 + 10) / 2^10.
    a = np.array([-1.0] + [1.0] * 9 + [1.0, -1.0])
    b = np.array([1.0] + [-1.0] * 9 + [1.0, -1.0])
    result = compare(np.arange(12).astype(str), np.arange(12), a, b, **SETTINGS)
    assert result["mcnemar_p"] == pytest.approx(22 / 1024, abs=1e-15)
    assert result["accuracy_difference"] == pytest.approx(-8 / 12)


def test_a_revision_does_not_differ_from_itself():
    margin = np.array([1.0, -1.0, 0.0])
    result = compare(np.array(["a", "b", "c"]), np.arange(3), margin, margin, **SETTINGS)
    assert result["mcnemar_p"] == 1
    assert result["agreement"] == 1
    assert result["flips"] == []
    for name in ("accuracy_difference", "log_loss_difference"):
        assert [result[name], result[f"{name}_low"], result[f"{name}_high"]] == [0, 0, 0]
    assert "flipped" not in describe({"rev_a": "a", "rev_b": "b", **result})


def test_the_level_is_told_as_it_was_chosen():
    margin = np.array([1.0, -1.0])
    settings = SETTINGS | {"confidence": 0.975}
    result = compare(np.array(["a", "b"]), np.arange(2), margin, margin, **settings)
    assert "difference (97.5%)" in describe({"rev_a": "a", "rev_b": "b", **result})


def test_the_log_loss_interval_is_scipys_paired_t_interval():
    random = np.random.default_rng(5)
    a, b = random.normal(size=80), random.normal(size=80)
    result = compare(np.arange(80).astype(str), np.arange(80), a, b, **SETTINGS)
    loss_a, loss_b = (np.log1p(np.exp(-margin)) for margin in (a, b))
    expected = stats.ttest_rel(loss_b, loss_a).confidence_interval(0.95)
    found = result["log_loss_difference_low"], result["log_loss_difference_high"]
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_bootstrap_draws_pairs_with_replacement():
    # The plain way: draw row numbers. The multinomial draw has the same distribution.
    differences = np.repeat([-1.0, -0.5, 0.0, 0.5, 1.0], [20, 3, 120, 5, 52])
    rows = np.random.default_rng(1).integers(0, 200, (40_000, 200))
    expected = np.quantile(differences[rows].mean(axis=1), [0.025, 0.975])
    assert bootstrap(differences, 0.95, 40_000, 0) == pytest.approx(expected, abs=0.005)


def test_the_bootstrap_follows_its_seed():
    differences = np.repeat([-1.0, 0.0, 1.0], [30, 100, 40])
    assert bootstrap(differences, 0.9, 1000, 7) == bootstrap(differences, 0.9, 1000, 7)
    seeds = {bootstrap(differences, 0.9, 1000, seed) for seed in range(20)}
    assert len(seeds) > 1


def test_match_aligns_by_pair_and_keeps_repeated_pairs():
    def table(*rows):
        ids, margins = zip(*rows, strict=True)
        zeros = [0.0] * len(rows)
        prompts = [f"prompt of {one}" for one in ids]
        columns = {"pair_id": ids, "chosen_score": margins, "rejected_score": zeros}
        return pa.table(columns | {"prompt_id": prompts})

    a = table(("x", 1.0), ("y", 2.0), ("x", 1.0))
    b = table(("x", 5.0), ("x", 5.0), ("y", 6.0))
    ids, prompt, left, right = match(a, b, intersection=False)
    assert (ids.tolist(), left.tolist(), right.tolist()) == (
        ["x", "x", "y"],
        [1, 1, 2],
        [5, 5, 6],
    )
    assert prompt.tolist() == [0, 0, 1]
    with pytest.raises(InputError, match="differ"):
        match(a, b.slice(1), intersection=False)
    ids, prompt, left, right = match(a, b.slice(1), intersection=True)
    assert (ids.tolist(), left.tolist(), right.tolist()) == (["x", "y"], [1, 2], [5, 6])
    assert prompt.tolist() == [0, 1]
    with pytest.raises(InputError, match="no validation pair in common"):
        match(a, table(("z", 1.0)), intersection=True)


def test_a_run_of_before_prompts_were_recorded_takes_those_of_the_other():
    ids, values = ["z", "x", "y"], [1.0, 2.0, 3.0]
    old = pa.table({"pair_id": ids, "chosen_score": values, "rejected_score": [0.0] * 3})
    new = old.append_column("prompt_id", [["p", "q", "p"]])
    for runs in ((old, new), (new, old)):
        found, prompt, *_ = match(*runs, intersection=False)
        assert (found.tolist(), prompt.tolist()) == (["x", "y", "z"], [0, 1, 1])
    _, prompt, *_ = match(old.slice(1), new.slice(0, 2), intersection=True)
    assert prompt.tolist() == [0]
    with pytest.raises(InputError, match="do not say which pairs are of one prompt"):
        match(old, old, intersection=False)


def test_pairs_of_a_prompt_that_flip_together_are_one_flip():
    # Eight pairs of two prompts become right, where as many of eight prompts would show a gain.
    a, b = np.repeat([-1.0, 1.0], [8, 4]), np.ones(12)
    ids, prompt = np.arange(12).astype(str), np.repeat([0, 1, 2], 4)
    result = compare(ids, prompt, a, b, **SETTINGS)
    assert (result["pairs"], result["prompts"]) == (12, 3)
    assert (result["better"], result["worse"]) == (8, 0)
    assert result["mcnemar_p"] == 2 / 4  # of + + and - -, among the four ways to flip two
    # Three prompts of which one has no gain: its double draw is the lowest of 1, 8, 12 and 6 / 27.
    assert result["accuracy_difference_low"] == 0
    assert "12 pairs of 3 prompts, both" in describe({"rev_a": "a", "rev_b": "b", **result})
    alone = compare(ids, np.arange(12), a, b, **SETTINGS)
    assert alone["mcnemar_p"] == 2 / 2**8
    assert alone["accuracy_difference_low"] > 1 / 3


def test_the_log_loss_of_pairs_that_are_one_pair_again_is_that_of_one():
    random = np.random.default_rng(5)
    a, b = random.normal(size=30), random.normal(size=30)
    once = compare(np.arange(30).astype(str), np.arange(30), a, b, **SETTINGS)
    ids, prompt = np.arange(120).astype(str), np.repeat(np.arange(30), 4)
    again = compare(ids, prompt, np.repeat(a, 4), np.repeat(b, 4), **SETTINGS)
    for key in ("difference", "difference_low", "difference_high"):
        assert again[f"log_loss_{key}"] == pytest.approx(once[f"log_loss_{key}"], abs=1e-12)
        assert again[f"accuracy_{key}"] == pytest.approx(once[f"accuracy_{key}"], abs=1e-12)
    assert again["mcnemar_p"] == once["mcnemar_p"]
