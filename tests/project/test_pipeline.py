"""Whole runs in temporary clones."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from reward.report.provenance import leaves
from tests.support.clones import copy_of_project, dvc, environment, execute, git, ran
from tests.support.models import save_weights
from tests.support.pipeline import PIPELINE, PROJECT, written

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def in_terminal(folder: Path, columns: int, *arguments: str) -> list[str]:
    """The lines that DVC prints in a terminal so wide, without colours."""
    # COLUMNS and LINES, which pytest-xdist sets, would go before the terminal's own size.
    command = shlex.join(["env", "-u", "COLUMNS", "-u", "LINES", "python", "-m", "dvc", *arguments])
    size = f"stty rows 50 cols {columns}"
    done = execute(folder, "script", "-qec", f"{size}; {command}", "/dev/null")
    assert done.returncode == 0, done.stdout
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout).splitlines()


@pytest.fixture
def project(committed: Path) -> Iterator[Path]:
    """The same for one test, which may change it."""
    yield committed
    git(committed, "reset", "--hard", "--quiet")
    git(committed, "clean", "--force", "--quiet", "data/sources")
    dvc(committed, "checkout", "--force", "--quiet")
    dvc(committed, "exp", "remove", "--all-commits")


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
    assert ran(output) == ["choose", *list(PIPELINE)[3:]]
    differences = json.loads(dvc(project, "metrics", "diff", "--json"))
    assert "accuracy" in differences["metrics/evaluate.json"]
    assert any(key.startswith("tokens.") for key in differences["metrics/stats.json"])
    assert ran(dvc(project, "exp", "run", "-S", "max_length=256")) == []
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_style_sheet_reruns_the_report_alone(project: Path) -> None:
    style = project / "reward/report/templates/report.css"
    style.write_text(style.read_text(encoding="utf-8") + "\nmain { margin: 0 }\n", encoding="utf-8")
    assert ran(dvc(project, "repro")) == ["report"]


@pytest.mark.slow
def test_a_new_test_set_reruns_what_reads_it(project: Path) -> None:
    lines = (project / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()[:20]
    before = (project / "data/scores/validation.parquet").read_bytes()
    # A file in data/sources is an input of download, whose output stays the same.
    (project / "data/sources/mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    output = dvc(project, "exp", "run", "-S", "+testsets.mine.source=data/sources/mine.jsonl")
    assert ran(output) == ["choose", "download", "testsets", "evaluate", "checks", "report"]
    scores = pq.read_table(project / "data/scores/testsets/mine.parquet")
    metrics = json.loads((project / "metrics/evaluate.json").read_text(encoding="utf-8"))
    right = pc.mean(pc.greater(scores["chosen_score"], scores["rejected_score"])).as_py()
    assert metrics["testsets"]["mine"]["accuracy"] == pytest.approx(right, abs=1e-4)
    record = json.loads((project / "data/testsets/records.json").read_text(encoding="utf-8"))
    assert record["mine"]["pairs"] == scores.num_rows == 20
    assert 0 < record["mine"]["prompt_in_training"] < 20
    assert (project / "data/scores/validation.parquet").read_bytes() == before
    (project / "data/sources/mine.jsonl").unlink()


@pytest.mark.slow
def test_metrics_are_the_headline_figures_and_fit_a_terminal(project: Path) -> None:
    dvc(project, "exp", "run", "-S", "max_length=128")
    for stage in ("stats", "train", "evaluate"):
        path = f"metrics/{stage}.json"
        metrics = json.loads((project / path).read_text(encoding="utf-8"))
        numbers = [value for _, value in leaves(metrics)]
        assert 4 <= len(numbers) <= 13, path
        shares = [number for number in numbers if isinstance(number, float)]
        assert shares == [float(f"{share:.5g}") for share in shares], path
    drop = "tokens|last_epoch|best_of|filler|brier|.*_(low|high|doubled|error)|.*/"
    chosen = ("--only-changed", "--drop", drop)
    assert f"dvc exp show --only-changed --drop '{drop}'" in README
    table = in_terminal(project, 160, "exp", "show", "--no-pager", *chosen)
    # The second experiment of README.md has one column more.
    assert max(map(len, table)) + len("   train.learning_rate") <= 160
    assert not any("…" in line for line in table), table
    names = next(line for line in table if "Experiment" in line).split()
    assert {"Experiment", "Created", "accuracy", "log_loss", "max_length"} <= {*names}, table


@pytest.mark.slow
def test_learning_rate_reruns_what_follows_train(project: Path) -> None:
    # DVC writes 1e-05, which PyYAML reads as text: the parameter class makes it a number again.
    output = dvc(project, "exp", "run", "-S", "train.learning_rate=1e-5")
    assert ran(output) == ["choose", "train", "evaluate", "checks", "report"]
    dvc(project, "status", "--quiet")


@pytest.mark.slow
def test_what_is_no_part_of_the_result_trains_nothing_again(project: Path) -> None:
    trackers = [project / "tensorboard.py", project / "wandb.py"]  # which must be installed
    for tracker in trackers:
        tracker.touch()
    try:
        changes = ("-S", "report_to=[tensorboard,wandb]", "-S", "process_timeout=1200")
        assert ran(dvc(project, "exp", "run", *changes)) == ["choose"]
        dvc(project, "status", "--quiet")
    finally:
        for tracker in trackers:
            tracker.unlink()


@pytest.mark.slow
def test_what_is_not_trained_is_computed_once_for_all_experiments(project: Path) -> None:
    weights = project / "data/sources/tiny/model.safetensors"
    save_weights(weights.parent)
    output = dvc(project, "exp", "run", "-S", "backbones.tiny.trained_layers=0")
    assert {"states", "train", "evaluate", "checks", "report"} <= {*ran(output)}
    assert "Which layer" in (project / "metrics/report.html").read_text(encoding="utf-8")
    states = project / "data/states/train.npy"
    before = states.read_bytes()
    values = ("learning_rate=1e-2", "seed=7", "loss=margin", "epochs=1")
    changes = [word for value in values for word in ("-S", f"train.{value}")]
    stages = ["choose", "train", "evaluate", "checks", "report"]
    assert ran(dvc(project, "exp", "run", *changes)) == stages
    assert states.read_bytes() == before
    # With another border there are other states; back again there is nothing to compute.
    output = dvc(project, "exp", "run", "-S", "backbones.tiny.trained_layers=1")
    # The entry is one of download's inputs, whose output stays the same.
    stages = ["choose", "download", "states", "train", "evaluate", "checks", "report"]
    assert ran(output) == stages
    assert ran(dvc(project, "exp", "run", "-S", "backbones.tiny.trained_layers=0")) == []
    assert states.read_bytes() == before
    weights.unlink()


@pytest.mark.slow
def test_an_unused_entry_reruns_the_check_of_names_alone(project: Path) -> None:
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    entry = text.index("helpsteer2:")
    changed = text[entry:].replace("revision: main", "revision: other", 1)
    params.write_text(text[:entry] + changed, encoding="utf-8")
    assert changed != text[entry:]
    assert ran(dvc(project, "repro")) == ["choose"]


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
    counted = f"{project}/tests/support/counted.py 2 {project}/logs/ranks"
    launcher = f"torchrun --standalone --nproc_per_node 2 {counted}"
    one = pq.read_table(project / "data/scores/validation.parquet").to_pydict()
    output = dvc(project, "exp", "run", "-S", f"launcher='{launcher}'")
    assert ran(output) == ["choose", "states", "train", "evaluate", "checks", "report"]
    ranks = sorted(path.name for path in (project / "logs/ranks").iterdir())
    stages = ("checks", "evaluate", "states", "train")
    assert ranks == [f"{stage}-{rank}" for stage in stages for rank in (0, 1)]
    two = pq.read_table(project / "data/scores/validation.parquet").to_pydict()
    assert two["pair_id"] == one["pair_id"]
    for side in ("chosen_score", "rejected_score"):
        assert two[side] == pytest.approx(one[side], abs=1e-3)


PUT_BACK = "git show HEAD:params.yaml > params.yaml"
WRONG_NAMES = {
    "dataset=sampel": "dataset=sampel is not an entry of datasets in params.yaml (did you mean "
    "sample? there are: helpsteer2, helpsteer2-responses, sample): ",
    "+train.epoch=3": "params.yaml has an unknown key train.epoch (did you mean epochs? there are",
}


@pytest.mark.slow
def test_a_wrong_name_ends_in_our_sentence_and_can_be_put_back(tmp_path: Path) -> None:
    """In a clone in which nothing has run; the value stays in params.yaml after an experiment."""
    folder = copy_of_project(tmp_path / "project")
    for change, sentence in WRONG_NAMES.items():
        for command in (["exp", "run", "-S", change], ["repro"]):
            done = execute(folder, sys.executable, "-m", "dvc", *command)
            assert done.returncode != 0
            assert "Traceback" not in done.stderr
            assert ran(done.stdout) == ["choose"]
            (line,) = (line for line in done.stderr.splitlines() if line.startswith("choose: "))
            assert line.startswith(f"choose: {sentence}")
            assert line.endswith(f"`{PUT_BACK}` puts the committed file back.")
        assert execute(folder, "sh", "-c", PUT_BACK).returncode == 0
    dvc(folder, "repro", "choose")


@pytest.mark.slow
def test_lock_file_is_that_of_this_code(tmp_path: Path) -> None:
    """What is committed as the last run's record belongs to the committed code and parameters."""
    clone = copy_of_project(tmp_path / "clone")
    assert "Running stage" not in dvc(clone, "repro", "--dry", "--allow-missing")
