"""The contract between dvc.yaml, params.yaml and the code."""

import ast
import importlib
import importlib.metadata
import inspect
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from dvc.utils.serialize import modify_yaml

from docs.architecture import picture
from reward.harness.closure import import_closure, imported_modules
from tests.support.pipeline import PIPELINE, PROJECT, listed, written

PARAMS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())
# What a stage reads and does not depend on: dvc.yaml declares it for none.
RERUNS_NOTHING = {
    "states": {"process_timeout"},
    "train": {"process_timeout", "report_to"},
    "evaluate": {"process_timeout"},
    "checks": {"process_timeout"},
}
NEED_TORCH = ["states", "train", "evaluate", "checks"]
WITHOUT_TORCH = [name for name in PIPELINE if name not in NEED_TORCH]
FIRST = "choose"  # which reads all of params.yaml
every_stage = pytest.mark.parametrize("name", PIPELINE)


def module(name: str) -> ModuleType:
    return importlib.import_module(f"stages.{name}")


def params_class(name: str) -> str:
    return f"{name.capitalize()}Params"


def options(name: str) -> dict[str, str]:
    """The options of a stage's command and their values."""
    words = shlex.split(PIPELINE[name]["cmd"])
    pairs = words[words.index("-m") + 2 :]
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def test_stages_are_the_files_in_stages() -> None:
    assert {path.stem for path in (PROJECT / "stages").glob("*.py")} == set(PIPELINE)


@every_stage
def test_stage_file_reads_top_to_bottom(name: str) -> None:
    source = (PROJECT / "stages" / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 200
    body = ast.parse(source).body
    assert ast.get_docstring(ast.parse(source))
    assert re.fullmatch(
        rf"if __name__ == '__main__':\n    run\({name}, {params_class(name)}(, again='.*')?\)",
        ast.unparse(body[-1]),
    )
    order = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert order.index(params_class(name)) + 1 == order.index(name)


@every_stage
def test_command_starts_the_stage_with_its_paths(name: str) -> None:
    launcher = "${launcher}" if name in NEED_TORCH else "python"
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
    # The source's path stands in the dataset's and the backbone's entry, and what choose wrote only
    # makes DVC run it first.
    unnamed = ["data/sources", *written(FIRST)] if name == "download" else []
    assert sorted([*read, *written(name)]) == sorted([*options(name).values(), *unnamed])


@every_stage
def test_deps_are_the_import_closure(name: str) -> None:
    code = {path for path in listed(name, "deps") if path.endswith(".py")}
    needed = import_closure(f"stages/{name}.py")
    assert not needed - code, f"deps of {name} lack {sorted(needed - code)}"
    assert not code - needed, f"deps of {name} list {sorted(code - needed)}, which it never imports"


def test_the_picture_of_the_architecture_is_that_of_this_code() -> None:
    drawn = (PROJECT / "docs/architecture.svg").read_text(encoding="utf-8")
    assert drawn == picture(), "run python -m docs.architecture"


@every_stage
def test_params_class_has_the_declared_keys(name: str) -> None:
    fields = set(vars(module(name))[params_class(name)].model_fields)
    assert fields == declared(name) | RERUNS_NOTHING.get(name, set())


def declared(name: str) -> set[str]:
    """The keys at the top of params.yaml that a stage reads."""
    if PIPELINE[name]["params"] == [{"params.yaml": None}]:
        return set(PARAMS)
    return {key.split(".")[0] for key in PIPELINE[name]["params"]}


def test_one_stage_reads_every_key_and_runs_first() -> None:
    assert [name for name in PIPELINE if declared(name) == set(PARAMS)] == [FIRST]
    assert next(iter(PIPELINE)) == FIRST
    (chosen,) = written(FIRST)
    assert chosen in listed("download", "deps")


@pytest.mark.parametrize("name", [name for name in PIPELINE if name != FIRST])
def test_params_exist(name: str) -> None:
    for key in PIPELINE[name]["params"]:
        value: Any = PARAMS
        for part in re.sub(r"\$\{(\w+)\}", lambda match: PARAMS[match[1]], key).split("."):
            assert part in value, f"params.yaml has no {key}, which {name} declares"
            value = value[part]


def test_params_are_written_as_dvc_writes_them(tmp_path: Path) -> None:
    """Else an experiment that sets a value back leaves a file that git calls changed."""
    copy = Path(shutil.copy(PROJECT / "params.yaml", tmp_path))
    with modify_yaml(copy):
        pass
    assert copy.read_text(encoding="utf-8") == (PROJECT / "params.yaml").read_text(encoding="utf-8")


def test_no_parameter_is_idle() -> None:
    read = set().union(*(declared(name) for name in PIPELINE if name != FIRST))
    untracked = set().union(*RERUNS_NOTHING.values())
    assert not read & untracked
    assert set(PARAMS) == read | untracked | {"launcher"}


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


def test_other_stages_start_without_torch() -> None:
    """Importing torch, transformers and trl costs seconds that most stages do not need."""
    imports = ", ".join(f"stages.{name}" for name in WITHOUT_TORCH)
    slow = "{'torch', 'transformers', 'trl', 'peft', 'accelerate', 'pandas'}"
    program = f"import sys, {imports}; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_imported_library_is_pinned() -> None:
    names = ("requirements.txt", "requirements-ray.txt", "requirements-serve.txt")
    requirements = [line for name in names for line in (PROJECT / name).read_text().splitlines()]
    pins = [line for line in requirements if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", pin) for pin in pins)
    pinned = {plain(re.split(r"==|\[", pin)[0]) for pin in pins}
    files = [path for folder in ("stages", "reward") for path in (PROJECT / folder).rglob("*.py")]
    assert PROJECT / "reward/scoring/scorer.py" in files
    packages = {name.split(".")[0] for path in files for name in imported_modules(path)}
    providers = importlib.metadata.packages_distributions()
    for package in packages - set(sys.stdlib_module_names) - {"stages", "reward"}:
        assert pinned & set(map(plain, providers[package])), f"{package} is not in requirements.txt"


def test_an_installation_has_every_module_and_template(tmp_path: Path) -> None:
    names = [*(PROJECT / "reward").rglob("*"), *(PROJECT / "stages").rglob("*")]
    wanted = {
        path.relative_to(PROJECT).as_posix()
        for path in names
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"reward/harness/errors.py", "reward/report/templates/report.css"} <= wanted
    for name in (*wanted, "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == wanted


def plain(name: str) -> str:
    """A distribution's name as the packaging rules compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
