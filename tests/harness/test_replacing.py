"""reward.harness.files.replacing: killed at every step, read while it writes, two at once."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reward.harness import files
from reward.harness.errors import InputError
from reward.harness.files import check_output, replacing, write_json
from reward.harness.swap import swap

PROJECT = Path(__file__).parents[2]
PARTS = 3  # files of a folder

# Stops itself at the step of a number, a step being whatever changes or opens a file. The last line
# of stdout is the number of steps.
WRITER = """
import os, signal, sys
from pathlib import Path
from reward.harness import files

kind, target, content, stop, times, can_swap = sys.argv[1:]
steps = 0

def step(event, arguments):
    global steps
    if event in {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}:
        steps += 1
        if steps == int(stop):
            os.kill(os.getpid(), signal.SIGSTOP)

if can_swap == "no":
    files.swap = lambda first, second: False
sys.addaudithook(step)
for number in range(int(times)):
    with files.replacing(Path(target)) as partial:
        if kind == "file":
            partial.write_text(content * 1000)
        else:
            partial.mkdir()
            for part in range(3):
                (partial / f"{part}.txt").write_text(content * 1000)
print(steps)
"""


def writer(
    kind: str, target: Path, content: str, stop: int = 0, times: int = 1, can_swap: bool = True
) -> subprocess.Popen[str]:
    words = (kind, target, content, stop, times, "yes" if can_swap else "no")
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def content(target: Path) -> str:
    """The letter that a whole output is full of."""
    texts = [target.read_text()] if target.is_file() else [p.read_text() for p in target.iterdir()]
    assert len(texts) == (1 if target.is_file() else PARTS)
    (letter,) = {*"".join(texts)}
    assert {*map(len, texts)} == {1000}
    return letter


def finish(process: subprocess.Popen[str]) -> int:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return int(out)


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("can_swap", [True, False])
def test_a_kill_at_any_step_leaves_one_of_both_outputs_whole(
    tmp_path: Path, kind: str, can_swap: bool
) -> None:
    target = tmp_path / "out"
    finish(writer(kind, target, "o", can_swap=can_swap))
    steps = finish(writer(kind, target, "o", can_swap=can_swap))
    assert steps > 5
    seen = set()
    for stop in range(1, steps + 1):
        finish(writer(kind, target, "o", can_swap=can_swap))  # which removes what a kill has left
        assert [one.name for one in tmp_path.iterdir()] == ["out"]
        process = writer(kind, target, "n", stop, can_swap=can_swap)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.kill()
        _, status = os.waitpid(process.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        process.returncode = -signal.SIGKILL
        process.communicate()
        if not can_swap and not target.exists():  # between its two renames; it comes back
            with pytest.raises(ZeroDivisionError), replacing(target):
                1 / 0  # noqa: B018
            seen.add("back")
        seen.add(content(target))
    assert {"o", "n"} <= seen
    assert ("back" in seen) == (kind == "folder" and not can_swap)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_reader_never_sees_it_missing_or_half(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    finish(writer(kind, target, "a"))
    process = writer(kind, target, "b", times=200)
    read = set()
    while process.poll() is None:
        (text,) = {*(target if kind == "file" else target / "1.txt").read_text()}
        read.add(text)
    assert finish(process)
    assert read == {"a", "b"}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("can_swap", [True, False])
def test_two_runs_at_once_leave_what_one_of_them_wrote(
    tmp_path: Path, kind: str, can_swap: bool
) -> None:
    target = tmp_path / "out"
    finish(writer(kind, target, "o"))
    first = writer(kind, target, "a", stop=4, can_swap=can_swap)  # it has made its own folder
    _, status = os.waitpid(first.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    finish(writer(kind, target, "b", can_swap=can_swap))
    assert content(target) == "b"
    assert len([*tmp_path.iterdir()]) == 2  # the first one's half is still there
    first.send_signal(signal.SIGCONT)
    finish(first)
    assert content(target) == "a"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    both = [writer(kind, target, letter, times=50) for letter in "ab"]
    assert [finish(one) > 0 for one in both] == [True, True]
    assert content(target) in "ab"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_what_cannot_be_written_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where folders cannot be swapped and the second rename fails, the first is undone."""
    monkeypatch.setattr(files, "swap", lambda first, second: False)
    target = tmp_path / "out"
    rename = Path.rename

    def fails(self: Path, to: Path) -> Path:
        if self.name == "out" and to == target and "new" in {one.name for one in self.iterdir()}:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(to))
        return rename(self, to)

    for name in ("old", "new"):
        if name == "new":
            monkeypatch.setattr(Path, "rename", fails)
        failing = pytest.raises(OSError, match="out") if name == "new" else nullcontext()
        with failing, replacing(target) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [one.name for one in target.iterdir()] == ["old"]
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_file_and_a_folder_replace_each_other(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for _ in range(2):
        write_json(target, {"a": 1})
        assert target.is_file()
        with replacing(target) as partial:
            partial.mkdir()
            (partial / "file").touch()
        assert target.is_dir()


def test_everything_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def replaced(self: Path, to: Path) -> Path:
        done.append("renamed")
        return replace(self, to)

    if not Path("/proc/self/fd").exists():
        pytest.skip("descriptors are named on Linux only")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    with replacing(tmp_path / "out") as partial:
        (partial / "sub").mkdir(parents=True)
        (partial / "sub/file").write_text("content")
    assert sorted(done[:3]) == ["file", "out", "sub"]
    assert done[3:] == ["renamed", tmp_path.name]


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_permissions_are_those_of_the_umask_whatever_a_library_makes(
    tmp_path: Path, umask: int
) -> None:
    with replacing(tmp_path / "model") as partial:
        (partial / "sub").mkdir(parents=True, mode=0o700)
        save_file({"weight": torch.zeros(2)}, partial / "model.safetensors")
        (partial / "sub/linked").write_text("read-only")
        (partial / "sub/linked").chmod(0o444)
    write_json(tmp_path / "record.json", {})
    found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    for name in ("model.safetensors", "linked", "record.json"):
        assert found[name] == 0o666 & ~umask, name
    for name in ("model", "sub"):
        assert found[name] == 0o777 & ~umask, name
    assert os.umask(umask) == umask


def test_a_folders_group_goes_on_to_what_comes_into_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    with replacing(tmp_path / "out") as partial:
        (partial / "sub").mkdir(parents=True)
    assert (tmp_path / "out/sub").stat().st_mode & stat.S_ISGID


@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_no_output(tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"out is a symbolic link, .* name .*elsewhere, or remove"):
        write_json(tmp_path / "out", {})
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "elsewhere").exists() == there
    # A folder above may well be one.
    (tmp_path / "folder").mkdir()
    (tmp_path / "data").symlink_to("folder")
    write_json(tmp_path / "data/out", {})
    assert (tmp_path / "folder/out").exists()


def test_a_pipe_is_no_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is neither a file nor a folder"):
        write_json(tmp_path / "pipe", {})
    assert (tmp_path / "pipe").is_fifo()


def test_an_input_is_no_output(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch()
    check_output(other, one)
    other.touch()
    check_output(other, one)
    other.unlink()
    other.hardlink_to(one)
    with pytest.raises(InputError, match="other is the input as well: name another output"):
        check_output(other, one)


def test_what_is_no_leftover_stays(tmp_path: Path) -> None:
    names = [
        ".out.partial",
        ".out.12345678.partial.txt",
        ".outer.12345678.partial",
        ".out.x.partial",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.12345678.partial").mkdir()
    write_json(tmp_path / "out", {})
    assert {one.name for one in tmp_path.iterdir()} == {*names, "out"}


def test_file_systems_without_locks_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", none)
    (tmp_path / ".out.12345678.partial").mkdir()
    write_json(tmp_path / "out", {})
    assert (tmp_path / ".out.12345678.partial").exists()  # for it may be another run's
    assert len([*tmp_path.iterdir()]) == 2


def test_swap(tmp_path: Path) -> None:
    first, second = tmp_path / "é", tmp_path / "b"
    first.write_text("1")
    second.mkdir()
    if not swap(first, second):
        pytest.skip("the file system cannot swap")
    assert (first.is_dir(), second.read_text()) == (True, "1")
    shutil.rmtree(first)
    with pytest.raises(FileNotFoundError):
        swap(first, second)
