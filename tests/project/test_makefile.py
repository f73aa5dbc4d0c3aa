"""The Makefile's set-up: made once, made again when it must be, refused on an old Python."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


def project(folder: Path) -> Path:
    """A folder with the Makefile and what set-up reads, in which there is nothing to install."""
    folder.mkdir(exist_ok=True)
    shutil.copy(MAKEFILE, folder)
    for name in ("requirements.txt", "requirements.lock", "constraints.txt"):
        (folder / name).write_text("# nothing\n")
    (folder / "docs").mkdir(exist_ok=True)
    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / "docs/plots_page.py").write_text("open('.dvc/plots.html', 'w').close()\n")
    return folder


def make(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user does: no .venv is active, and no outer make passes settings on."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    kept.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=folder,
        env=kept | changes,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_environment_is_made_once_and_mended_when_broken(tmp_path: Path) -> None:
    folder = project(tmp_path / "with space")
    # Stands in for DVC and tells which Python the stages would find.
    (folder / "dvc.py").write_text("import shutil\nprint('stages use', shutil.which('python'))\n")

    def repro() -> tuple[bool, str]:
        """Whether .venv was made, and what was printed last."""
        done = make(folder, "repro")
        assert done.returncode == 0, done.stderr
        return "-m venv" in done.stdout, done.stdout.splitlines()[-1]

    expected = f"stages use {folder}/.venv/bin/python"
    assert repro() == (True, expected)
    page = folder / ".dvc/plots.html"
    made = page.stat().st_mtime_ns
    assert repro() == (False, expected)
    assert page.stat().st_mtime_ns == made

    (folder / ".venv/installed").unlink()  # as if the installation had been cut short
    assert repro() == (True, expected)

    for python in (folder / ".venv/bin").glob("python*"):  # as if the Python had been removed
        python.unlink()
    assert repro() == (True, expected)


@pytest.mark.slow
def test_a_library_with_other_bytes_than_the_locked_ones_is_not_installed(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    wheel = folder / "thing-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as packed:
        packed.writestr("thing.py", "")
        packed.writestr(
            "thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"
        )
        packed.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr("thing-1.0.dist-info/RECORD", "")
    for name in ("requirements.txt", "constraints.txt"):
        (folder / name).write_text("thing==1.0\n")
    nowhere_else = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": folder.as_uri(),
        "PIP_CONFIG_FILE": "/dev/null",
    }
    whole = wheel.read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    (folder / "requirements.lock").write_text(f"thing==1.0 \\\n    --hash=sha256:{digest}\n")

    wheel.write_bytes(whole + b"\0")  # still a zip archive
    done = make(folder, ".venv/installed", **nowhere_else)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (folder / ".venv/installed").exists()
    assert not list((folder / ".venv").rglob("thing.py"))

    wheel.write_bytes(whole)
    done = make(folder, ".venv/installed", **nowhere_else)
    assert done.returncode == 0, done.stderr
    assert list((folder / ".venv").rglob("thing.py"))


def test_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    project(tmp_path)
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
