"""reward/harness/closure.py: what a file imports, however indirectly and wherever in it."""

from pathlib import Path

import pytest

from reward.harness.closure import import_closure, imported_modules, project_files


def make(project: Path, **files: str) -> None:
    for name, text in files.items():
        path = project / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_closure_follows_imports_of_modules_names_and_functions(tmp_path: Path) -> None:
    make(
        tmp_path,
        start="import os\nfrom room import first\nfrom room.second import name",
        room__first="def late():\n    import room.third",
        room__second="name = 1",
        room__third="import start",
        room__unused="import room.first",
    )
    found = import_closure("start.py", tmp_path)
    assert found == {"start.py", "room/first.py", "room/second.py", "room/third.py"}


def test_a_relative_import_is_refused(tmp_path: Path) -> None:
    make(tmp_path, start="from . import other")
    with pytest.raises(ValueError, match=r"start\.py, line 1: write imports with their full names"):
        list(imported_modules(tmp_path / "start.py"))


def test_of_this_project() -> None:
    assert project_files("reward.scoring.attention.attention") == {"reward/scoring/attention.py"}
    found = import_closure("stages/train.py")
    assert {"stages/train.py", "reward/scoring/attention.py", "reward/harness/closure.py"} <= found
    assert not [file for file in found if "report" in file or "serving" in file]
