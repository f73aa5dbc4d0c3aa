"""The Makefile's set-up: made once, made again when it must be, refused on an old Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does: no .venv is active, and no outer make passes settings on."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    kept.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_environment_is_made_once_and_mended_when_broken(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    shutil.copy(MAKEFILE, folder)
    (folder / "requirements.txt").write_text("# nothing\n")
    # Stands in for DVC and tells which Python the stages would find.
    (folder / "dvc.py").write_text("import shutil\nprint('stages use', shutil.which('python'))\n")

    def repro() -> tuple[bool, str]:
        """Whether .venv was made, and what was printed last."""
        done = make(folder, "repro")
        assert done.returncode == 0, done.stderr
        return "-m venv" in done.stdout, done.stdout.splitlines()[-1]

    expected = f"stages use {folder}/.venv/bin/python"
    assert repro() == (True, expected)
    assert repro() == (False, expected)

    (folder / ".venv/installed").unlink()  # as if the installation had been cut short
    assert repro() == (True, expected)

    for python in (folder / ".venv/bin").glob("python*"):  # as if the Python had been removed
        python.unlink()
    assert repro() == (True, expected)


def test_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "requirements.txt").write_text("")
    old = tmp_path / "python-old"
    # This interpreter, made to say that it is Python 3.9.
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c "
        '"import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    done = make(tmp_path, f"PYTHON={old}", "repro")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        f"{old} is Python 3.9, and this project needs 3.11 or newer: "
        "install one and name it, for example make PYTHON=python3.12 repro."
    )
    assert not (tmp_path / ".venv").exists()
