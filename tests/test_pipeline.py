"""The contract between dvc.yaml, params.yaml and the code, and whole runs in temporary clones."""

import ast
import importlib
import importlib.metadata
import inspect
import itertools
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
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
PIPELINE: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
PARAMS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
DATA_STAGES = ["download", "split", "tokenize", "stats"]
every_stage = pytest.mark.parametrize("name", PIPELINE)


# The contract


def module(name: str) -> ModuleType:
    return importlib.import_module(f"stages.{name}")


def params_class(name: str) -> str:
    return f"{name.capitalize()}Params"


def listed(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """The entries under deps, outs, metrics or plots of a stage: path and settings."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in PIPELINE[name].get(kind, []):
        entries |= entry if isinstance(entry, dict) else {entry: {}}
    return entries


def written(name: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in listed(name, kind)]


def options(name: str) -> dict[str, str]:
    """The options of a stage's command and their values."""
    words = shlex.split(PIPELINE[name]["cmd"])
    pairs = words[words.index("-m") + 2 :]
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def imported_modules(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports anywhere in it, names from packages included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what a stage depends on"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_files(dotted: str) -> set[str]:
    """The files of this project that importing a dotted name runs, relative to its root."""
    parts = dotted.split(".")
    heads = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    candidates = [f"{head}{ending}" for head in heads for ending in (".py", "/__init__.py")]
    return {candidate for candidate in candidates if (PROJECT / candidate).is_file()}


def import_closure(start: str) -> set[str]:
    """Every file of this project that running `start` can import, itself included."""
    found, waiting = set[str](), {start}
    while waiting:
        found |= waiting
        dotted = {name for path in waiting for name in imported_modules(PROJECT / path)}
        waiting = set().union(*map(project_files, dotted)) - found
    return found


def test_stages_are_the_files_in_stages() -> None:
    assert {path.stem for path in (PROJECT / "stages").glob("*.py")} == set(PIPELINE)


@every_stage
def test_stage_file_reads_top_to_bottom(name: str) -> None:
    source = (PROJECT / "stages" / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 200
    body = ast.parse(source).body
    assert ast.get_docstring(ast.parse(source))
    assert ast.unparse(body[-1]) == (
        f"if __name__ == '__main__':\n    run({name}, {params_class(name)})"
    )
    order = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert order.index(params_class(name)) + 1 == order.index(name)


@every_stage
def test_command_starts_the_stage_with_its_paths(name: str) -> None:
    launcher = "python" if name in DATA_STAGES else "${launcher}"
    assert PIPELINE[name]["cmd"].startswith(f"{launcher} -m stages.{name} --")
    _, *paths = inspect.signature(vars(module(name))[name]).parameters.values()
    assert all(parameter.annotation is Path for parameter in paths)
    assert list(options(name)) == [f"--{path.name.replace('_', '-')}" for path in paths]


@every_stage
def test_command_names_every_path_that_dvc_tracks(name: str) -> None:
    read = {
        # DVC takes a folder below .dvc for empty, so its files are listed one by one.
        str(Path(path).parent) if path.startswith(".dvc/") else path
        for path in listed(name, "deps")
        if not path.endswith(".py")
    }
    # The source's path stands in the dataset's and the backbone's entry.
    assert sorted([*read, *written(name)]) == sorted(
        [*options(name).values(), *(["data/sources"] if name == "download" else [])]
    )


@every_stage
def test_deps_are_the_import_closure(name: str) -> None:
    code = {path for path in listed(name, "deps") if path.endswith(".py")}
    needed = import_closure(f"stages/{name}.py")
    assert not needed - code, f"deps of {name} lack {sorted(needed - code)}"
    assert not code - needed, f"deps of {name} list {sorted(code - needed)}, which it never imports"


@every_stage
def test_params_class_has_the_declared_keys(name: str) -> None:
    declared = {key.split(".")[0] for key in PIPELINE[name]["params"]}
    assert set(vars(module(name))[params_class(name)].model_fields) == declared


@every_stage
def test_params_exist(name: str) -> None:
    for key in PIPELINE[name]["params"]:
        value: Any = PARAMS
        for part in re.sub(r"\$\{(\w+)\}", lambda match: PARAMS[match[1]], key).split("."):
            assert part in value, f"params.yaml has no {key}, which {name} declares"
            value = value[part]


def test_no_parameter_is_idle() -> None:
    declared = {key.split(".")[0] for name in PIPELINE for key in PIPELINE[name]["params"]}
    assert set(PARAMS) == declared | {"launcher"}


@every_stage
def test_stage_is_described(name: str) -> None:
    assert PIPELINE[name]["desc"]


@every_stage
def test_run_cache_stays_on(name: str) -> None:
    """`cache: false` on an out and `persist: true` on anything switch it off without a word."""
    assert not any("cache" in settings for settings in listed(name, "outs").values())
    for kind in ("outs", "metrics", "plots"):
        assert not any("persist" in settings for settings in listed(name, kind).values())
    for kind in ("metrics", "plots"):
        assert all(settings["cache"] is False for settings in listed(name, kind).values())


def test_no_two_outputs_overlap() -> None:
    paths = [Path(path) for name in PIPELINE for path in written(name)]
    for one, other in itertools.combinations(paths, 2):
        assert one not in [other, *other.parents], f"{one} holds {other}"
        assert other not in one.parents, f"{other} holds {one}"


def test_data_stages_start_without_torch() -> None:
    """Importing torch, transformers and trl costs seconds that four stages do not need."""
    imports = ", ".join(f"stages.{name}" for name in DATA_STAGES)
    slow = "{'torch', 'transformers', 'trl', 'peft', 'accelerate', 'pandas'}"
    program = f"import sys, {imports}; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_imported_library_is_pinned() -> None:
    requirements = (PROJECT / "requirements.txt").read_text().splitlines()
    pins = [line for line in requirements if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {plain(pin.partition("==")[0]) for pin in pins}
    files = [path for folder in ("stages", "reward") for path in (PROJECT / folder).glob("*.py")]
    packages = {name.split(".")[0] for path in files for name in imported_modules(path)}
    providers = importlib.metadata.packages_distributions()
    for package in packages - set(sys.stdlib_module_names) - {"stages", "reward"}:
        assert pinned & set(map(plain, providers[package])), f"{package} is not in requirements.txt"


def plain(name: str) -> str:
    """A distribution's name as the packaging rules compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


# Whole runs


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
