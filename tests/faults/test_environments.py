"""Whole runs on machines that are not like their developers': the same bytes, or a sentence."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clones import environment, execute, git, outcome, ran, small_copy
from tests.support.pipeline import PIPELINE

DVC = (sys.executable, "-m", "dvc")
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
# Root may write everywhere; without its capabilities it is held to the modes like any user.
MORTAL = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()

pytestmark = pytest.mark.slow


def run(
    folder: Path, *command: str, umask: int = -1, unset: tuple[str, ...] = (), **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone in a changed environment."""
    kept = {name: value for name, value in environment(folder).items() if name not in unset}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | changes,
        umask=umask,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def check_run(
    done: subprocess.CompletedProcess[str], folder: Path, usual: Path, stages: int = len(PIPELINE)
) -> None:
    """So many stages ran, and all that they wrote is what the usual run wrote."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(ran(done.stdout)) == stages
    assert outcome(folder) == outcome(usual)


@pytest.fixture
def commas(tmp_path: Path) -> dict[str, str]:
    """Variables of a locale that writes 1,5 for one and a half."""
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/de_DE").exists():
        pytest.skip("needs localedef and the sources of locales: apt-get install locales")
    compiled = tmp_path / "locales/de_DE.UTF-8"
    compiled.parent.mkdir()
    subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", compiled], check=True)
    variables = {"LOCPATH": str(compiled.parent), "LC_ALL": "de_DE.UTF-8"}
    shown = "import locale; locale.setlocale(0, ''); print(locale.format_string('%.1f', 1.5))"
    program = shown.replace("0", "locale.LC_ALL")
    asked = [sys.executable, "-c", program]
    said = subprocess.run(asked, env=os.environ | variables, capture_output=True, text=True)
    assert said.stdout.strip() == "1,5", said.stderr
    return variables


def test_spaces_and_letters_of_other_scripts_in_the_path(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "Prüfung – 模型 'it'\"s\" $HOME & more/pro ject")
    check_run(run(folder, *DVC, "repro"), folder, usual)


def test_commas_in_numbers_and_a_day_ahead(
    usual: Path, tmp_path: Path, commas: dict[str, str]
) -> None:
    folder = small_copy(tmp_path / "project")
    check_run(run(folder, *DVC, "repro", TZ="XYZ-14", **commas), folder, usual)


def test_ascii_for_all_that_names_no_encoding_and_a_strict_umask(
    usual: Path, tmp_path: Path
) -> None:
    folder = small_copy(tmp_path / "project")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    asked = run(folder, sys.executable, "-c", "print(open('README.md').encoding)", **ascii_alone)
    assert asked.stdout.strip() == "ANSI_X3.4-1968"
    check_run(run(folder, *DVC, "repro", umask=0o077, **ascii_alone), folder, usual)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "metrics").iterdir()}
    assert modes == {0o600}  # those of the umask: nobody else may read them


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="reward-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")
def test_another_user_without_a_home(usual: Path, shared_folder: Path) -> None:
    able = subprocess.run(
        [*NOBODY, sys.executable, "-c", "import torch"], cwd="/", capture_output=True, text=True
    )
    if able.returncode != 0:
        pytest.skip("the user nobody may not read this Python and its libraries")
    folder = small_copy(shared_folder / "project")
    for path in (shared_folder, *shared_folder.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    done = run(folder, *NOBODY, *DVC, "repro", unset=("HOME",))
    check_run(done, folder, usual)
    assert {(folder / path).owner() for path in ("dvc.lock", "metrics", "data/model")} == {"nobody"}


def test_a_home_that_cannot_be_written(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    assert run(folder, *MORTAL, "touch", str(home / "x")).returncode != 0
    caches = ("HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    check_run(run(folder, *MORTAL, *DVC, "repro", unset=caches, HOME=str(home)), folder, usual)
    assert not list(home.iterdir())


@pytest.mark.parametrize("name", ["metrics", "data"])
def test_a_folder_that_cannot_be_written(name: str, usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    (folder / name).chmod(0o555)
    done = run(folder, *MORTAL, *DVC, "repro")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "ermission denied" in done.stderr
    finished = len(ran(done.stdout)) - 1
    (folder / name).chmod(0o755)
    check_run(run(folder, *MORTAL, *DVC, "repro"), folder, usual, len(PIPELINE) - finished)


def test_no_git_repository_is_said_with_its_cure_which_works(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    shutil.rmtree(folder / ".git")  # as from an archive
    for name, command in (("python", f'"{sys.executable}"'), ("pip", "true")):  # a ready .venv
        tool = folder / ".venv/bin" / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        tool.chmod(0o755)
    (folder / ".venv/bin/pip").write_text("#!/bin/sh\necho pip\n")
    (folder / ".venv/installed").touch()
    make = ("make", "--no-print-directory", "repro")
    unmade = ("MAKEFLAGS", "MAKELEVEL")
    done = run(folder, *make, unset=unmade)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if "git" in line] == [
        f"ERROR: {folder} is not a git repository",
        "DVC needs a git repository, and this folder is none: clone the project, or run git init "
        "here, and run again.",
    ]
    git(folder, "init", "--quiet")  # and no commit
    check_run(run(folder, *make, unset=unmade), folder, usual)
    # Experiments start from a commit: DVC says so and changes nothing.
    done = execute(folder, *DVC, "exp", "run", "-S", "max_length=128")
    assert done.returncode != 0
    assert "Empty git repo" in done.stderr
    assert outcome(folder) == outcome(usual)
