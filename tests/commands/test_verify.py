"""reward.verify finds damage that DVC does not see, and each cure that it prints is carried out."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reward.harness.files import dvc_hash
from reward.verify import Finding, open_project, verify
from tests.support.pipeline import PROJECT

STAGES = {
    "stages": {
        "first": {"cmd": "python first.py", "deps": ["first.py"], "outs": ["data/pairs"]},
        "second": {
            "cmd": "python second.py",
            "deps": ["data/pairs", "second.py"],
            "outs": ["data/model.bin"],
            "metrics": [{"metrics.json": {"cache": False}}],
        },
    }
}
FIRST = """
from pathlib import Path
folder = Path("data/pairs")
(folder / "sub").mkdir(parents=True)
(folder / "a.txt").write_text("a" * 1000)
(folder / "sub/b c.txt").write_text("b" * 1000)
"""
SECOND = """
from pathlib import Path
Path("data/model.bin").write_bytes(Path("data/pairs/a.txt").read_bytes() * 100)
Path("metrics.json").write_text('{"accuracy": 0.75}')
"""
CACHE = Path(".dvc/cache/files/md5")
Damage = Callable[[], None]


def run(*command: str) -> str:
    """Run a command in the current folder; it must succeed. Returns what it printed."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose two stages have run and whose last commit has the results."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    (folder / "first.py").write_text(FIRST)
    (folder / "second.py").write_text(SECOND)
    commands = f"""
        git init -q && {sys.executable} -m dvc init -q && {sys.executable} -m dvc repro -q
        git add -A
        git -c user.name=x -c user.email=x@x commit -q -m results
    """
    subprocess.run(["bash", "-ec", commands], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to damage, known to DVC, in which the test runs."""
    folder = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert "up to date" in run("dvc", "status")
    return folder


def flip(path: str | Path) -> None:
    """Flip a bit in the middle, as a disk does: size, times and permissions stay."""
    path = Path(path)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def recorded(path: str) -> str:
    lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"].values()
    return next(out["md5"] for stage in lock for out in stage["outs"] if out["path"] == path)


def cached(path: str) -> Path:
    """Where the cache has the content that a file or a folder's list should have."""
    md5 = recorded(path) if path in ("data/pairs", "data/model.bin") else dvc_hash(Path(path))
    return CACHE / md5[:2] / md5[2:]


def found() -> list[Finding]:
    return [finding for finding in verify(open_project()) if finding]


def test_all_is_right(project: Path) -> None:
    assert list(verify(open_project())) == [None] * 3


def test_dvc_itself_sees_no_bit_that_flips(project: Path) -> None:
    """Why this command is there, and why its cures remove a file before DVC brings it back."""
    flip("data/pairs/a.txt")
    wrong = dvc_hash(Path("data/pairs"))
    assert wrong != recorded("data/pairs")
    assert "up to date" in run("dvc", "status")
    run("dvc", "checkout", "--force", "data/pairs")
    run("dvc", "repro")
    assert dvc_hash(Path("data/pairs")) == wrong
    (finding,) = found()
    assert finding == (
        "data/pairs",
        ["data/pairs/a.txt is damaged or changed"],
        "rm -rf data/pairs && dvc checkout data/pairs",
    )
    # A damaged object is handed out as well.
    shutil.rmtree("data/pairs")
    flip(cached("data/model.bin"))
    Path("data/model.bin").unlink()
    run("dvc", "checkout")
    assert dvc_hash(Path("data/model.bin")) != recorded("data/model.bin")


def both(path: str) -> None:
    """A file and its content in the cache."""
    place = cached(path)
    flip(path)
    flip(place)


def list_and_file() -> None:
    place = cached("data/pairs")
    flip("data/pairs/a.txt")
    flip(place)


def cut(path: str) -> None:
    Path(path).write_text("shorter")


def with_remote(damage: Damage) -> Damage:
    def damaged() -> None:
        run("dvc", "remote", "add", "-d", "there", "../remote")
        run("dvc", "push")
        damage()

    return damaged


CASES: dict[str, tuple[Damage, str, str]] = {
    "file": (lambda: flip("data/model.bin"), "data/model.bin", "dvc checkout"),
    "file gone": (
        lambda: Path("data/model.bin").unlink(),
        "data/model.bin is missing",
        "dvc checkout",
    ),
    "file in a folder": (lambda: flip("data/pairs/sub/b c.txt"), "sub/b c.txt is", "dvc checkout"),
    "folder gone": (lambda: shutil.rmtree("data/pairs"), "sub/b c.txt is missing", "dvc checkout"),
    "file too many": (
        lambda: Path("data/pairs/c.txt").touch(),
        "data/pairs/c.txt is not part of it",
        "dvc checkout",
    ),
    "file changed": (lambda: cut("data/pairs/a.txt"), "a.txt is damaged or ch", "dvc checkout"),
    "object": (lambda: flip(cached("data/model.bin")), "in DVC's cache is damaged", "cp -f"),
    "object of a file in a folder": (
        lambda: flip(cached("data/pairs/sub/b c.txt")),
        "in DVC's cache is damaged",
        "cp -f 'data/pairs/sub/b c.txt'",
    ),
    "object gone": (lambda: cached("data/model.bin").unlink(), "cache is missing", "cp -f"),
    "both": (lambda: both("data/pairs/a.txt"), "data/pairs/a.txt is damaged", "dvc repro"),
    "both, of the last stage": (lambda: both("data/model.bin"), "is damaged", "dvc repro"),
    "list of a folder": (lambda: flip(cached("data/pairs")), "is damaged", "dvc repro"),
    "list and file": (list_and_file, "data/pairs is not what dvc.lock", "dvc repro"),
    "both, with a remote": (
        with_remote(lambda: both("data/pairs/a.txt")),
        "data/pairs/a.txt is damaged",
        "dvc pull",
    ),
    "whole cache": (lambda: shutil.rmtree(CACHE), "in DVC's cache is missing", "dvc repro"),
    "metric": (lambda: flip("metrics.json"), "metrics.json is damaged", "git checkout HEAD"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "problem", "cure"), CASES.values(), ids=CASES)
def test_damage_is_found_and_the_cure_mends_it(
    project: Path, damage: Damage, problem: str, cure: str
) -> None:
    lock = Path("dvc.lock").read_bytes()
    damage()
    findings = found()
    assert findings
    assert problem in "\n".join(line for finding in findings for line in finding.problems)
    assert cure in findings[0].cure
    for finding in findings:
        run("bash", "-ec", finding.cure)
    assert found() == []
    run("dvc", "repro")
    assert found() == []
    assert Path("data/model.bin").read_bytes() == b"a" * 100_000
    assert Path("data/pairs/sub/b c.txt").read_text() == "b" * 1000
    assert Path("metrics.json").read_text() == '{"accuracy": 0.75}'
    assert Path("dvc.lock").read_bytes() == lock


@pytest.mark.slow
def test_a_metric_that_was_not_committed_is_made_again(project: Path) -> None:
    Path("second.py").write_text(SECOND.replace("0.75", "0.5"))
    run("dvc", "repro")
    assert found() == []
    flip("metrics.json")
    (finding,) = found()
    assert finding.cure == "rm -rf metrics.json && dvc repro"
    run("bash", "-ec", finding.cure)
    assert found() == []
    assert Path("metrics.json").read_text() == '{"accuracy": 0.5}'


def command(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reward.verify"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )


def test_the_command(project: Path) -> None:
    done = command(project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 outputs checked, 0 not as dvc.lock records them\n"
    flip("data/model.bin")
    done = command(project)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "data/model.bin",
        "  data/model.bin is damaged or changed",
        "  to restore it: rm -rf data/model.bin && dvc checkout data/model.bin",
        "3 outputs checked, 1 not as dvc.lock records them",
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda: Path("dvc.lock").unlink(),
            "verify: dvc.lock records no output: `git checkout dvc.l",
        ),
        (lambda: Path("dvc.lock").write_text("{"), "verify: DVC cannot open the project of this f"),
        (lambda: shutil.rmtree(".git"), "verify: DVC cannot open the project of this folder ("),
        (lambda: shutil.rmtree(".dvc"), "verify: DVC cannot open the project of this folder ("),
    ],
    ids=["no lock", "broken lock", "no git", "no DVC"],
)
def test_no_project_to_verify(project: Path, change: Damage, sentence: str) -> None:
    change()
    done = command(project)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(sentence)
