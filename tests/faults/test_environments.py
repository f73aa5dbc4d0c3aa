"""Whole runs on machines that are not like their developers': the same bytes, or a sentence."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.clones import environment, execute, git, outcome, ran, small_copy
from tests.support.pipeline import PIPELINE

DVC = (sys.executable, "-m", "dvc")
# The user nobody, to whom the tester's files belong as long as it runs.
NOBODY = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
# Root may write everywhere; without its capabilities it is held to the modes like any user.
MORTAL = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()

pytestmark = pytest.mark.slow


def run(
    folder: Path,
    *command: str,
    variables: Mapping[str, str] | None = None,
    unset: Sequence[str] = (),
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Run a command in a clone in a changed environment."""
    usual = environment(folder).items()
    kept = {name: value for name, value in usual if name not in unset}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | {**(variables or {})},
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
    asked = "from locale import *; setlocale(LC_ALL, ''); print(format_string('%.1f', 1.5))"
    said = run(tmp_path, sys.executable, "-c", asked, variables=variables)
    assert said.stdout.strip() == "1,5", said.stderr
    return variables


def test_spaces_and_letters_of_other_scripts_in_the_path(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "Prüfung – 模型 'it'\"s\" $HOME & more/pro ject")
    check_run(run(folder, *DVC, "repro"), folder, usual)


def test_commas_in_numbers_and_a_day_ahead(
    usual: Path, tmp_path: Path, commas: dict[str, str]
) -> None:
    folder = small_copy(tmp_path / "project")
    check_run(run(folder, *DVC, "repro", variables=commas | {"TZ": "XYZ-14"}), folder, usual)


def test_ascii_for_all_that_names_no_encoding_and_a_strict_umask(
    usual: Path, tmp_path: Path
) -> None:
    folder = small_copy(tmp_path / "project")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    asked = "print(open('README.md').encoding)"
    said = run(folder, sys.executable, "-c", asked, variables=ascii_alone)
    assert said.stdout.strip() == "ANSI_X3.4-1968"
    check_run(run(folder, *DVC, "repro", umask=0o077, variables=ascii_alone), folder, usual)
    results = [name for name in outcome(folder) if name.startswith("metrics/")]
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in results}
    assert modes == {0o600}  # those of the umask: nobody else may read them


def test_a_user_without_rights_and_home(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    who = run(folder, *NOBODY, "sh", "-c", "id --user; grep CapEff /proc/self/status")
    if who.returncode != 0:
        pytest.skip(f"the system lets nobody map users ({who.stderr.strip()})")
    assert who.stdout.split() == ["65534", "CapEff:", "0" * 16]
    nowhere = {"HOME": "/nonexistent"}
    done = run(folder, *NOBODY, *DVC, "repro", unset=("USER", "LOGNAME"), variables=nowhere)
    check_run(done, folder, usual)


def test_a_home_that_cannot_be_written(usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    assert run(folder, *MORTAL, "touch", str(home / "x")).returncode != 0
    caches = ("HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    done = run(folder, *MORTAL, *DVC, "repro", unset=caches, variables={"HOME": str(home)})
    check_run(done, folder, usual)
    assert not list(home.iterdir())


@pytest.mark.parametrize("name", ["metrics", "data"])
def test_a_folder_that_cannot_be_written(name: str, usual: Path, tmp_path: Path) -> None:
    folder = small_copy(tmp_path / "project")
    (folder / name).chmod(0o555)
    done = run(folder, *MORTAL, *DVC, "repro")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "ermission denied" in done.stderr
    first = ran(done.stdout)
    (folder / name).chmod(0o755)
    done = run(folder, *MORTAL, *DVC, "repro")
    check_run(done, folder, usual, len(ran(done.stdout)))
    assert {*first, *ran(done.stdout)} == {*PIPELINE}
    assert len(first) + len(ran(done.stdout)) <= len(PIPELINE) + 1  # only what had failed


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
