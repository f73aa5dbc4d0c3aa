"""reward/training/checkpoints.py: what makes another run, and which folders are removed."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reward.harness.errors import InputError
from reward.training import checkpoints
from reward.training.checkpoints import (
    BUDGET,
    STATE,
    UNUSED_DAYS,
    checkpoint_folder,
    discard,
    latest,
    mark_complete,
    only_run,
    read_budget,
    remove_newer,
    remove_older,
    remove_unused,
)
from reward.training.manifest import COMPLETE, damage

CPU = torch.device("cpu")
PROJECT = Path(__file__).parents[2]
VALUES = {"seed": 1, "train": {"epochs": 2}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's code that the fingerprint is of, with an input."""
    for folder in ("reward", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=ignored)
    monkeypatch.setattr(checkpoints, "PROJECT", tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "root"))
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens/train.parquet").write_bytes(b"pairs")
    return tmp_path


def folder_of(project: Path, **changes: Any) -> Path:
    given: dict[str, Any] = {
        "values": VALUES,
        "inputs": [project / "tokens"],
        "device": CPU,
        "processes": 1,
    } | changes
    return checkpoint_folder(**given)


def append(project: Path, file: str) -> None:
    with (project / file).open("a", encoding="utf-8") as opened:
        opened.write("\n# another line\n")


def test_the_same_run_has_the_same_folder_below_the_main_checkout(
    project: Path, tmp_path: Path
) -> None:
    folder = folder_of(project)
    assert folder.parent == tmp_path / "root/.checkpoints"
    moved = shutil.copytree(project / "tokens", project / "elsewhere/tokens")
    assert folder_of(project, inputs=[moved]) == folder
    assert folder_of(project, values=dict(reversed(VALUES.items()))) == folder


@pytest.mark.parametrize(
    "file",
    [
        "stages/train.py",
        "reward/scoring/attention.py",
        "reward/tokens/records.py",
        "reward/harness/params.py",
        "reward/sources/backbones.py",
    ],
)
def test_code_that_train_imports_counts(project: Path, file: str) -> None:
    before = folder_of(project)
    append(project, file)
    assert folder_of(project) != before


@pytest.mark.parametrize(
    "file", ["reward/report/page.py", "reward/serving/model.py", "stages/split.py"]
)
def test_other_code_does_not(project: Path, file: str) -> None:
    before = folder_of(project)
    append(project, file)
    assert folder_of(project) == before


@pytest.mark.parametrize(
    "change",
    [
        {"values": VALUES | {"seed": 2}},
        {"device": torch.device("cuda")},
        {"processes": 2},
    ],
)
def test_values_and_hardware_count(project: Path, change: dict[str, Any]) -> None:
    assert folder_of(project, **change) != folder_of(project)


def test_threads_and_versions_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = folder_of(project)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 77)
        assert folder_of(project) != before
    version = checkpoints.version
    monkeypatch.setattr(checkpoints, "version", lambda name: f"{version(name)}.1")
    assert folder_of(project) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda tokens: (tokens / "train.parquet").write_bytes(b"other pairs"),
        lambda tokens: (tokens / "train.parquet").rename(tokens / "another.parquet"),
        lambda tokens: (tokens / "validation.parquet").write_bytes(b""),
    ],
)
def test_inputs_count(project: Path, change: Callable[[Path], None]) -> None:
    before = folder_of(project)
    change(project / "tokens")
    assert folder_of(project) != before


def make_checkpoint(
    folder: Path, step: int, *, complete: bool = True, best: int | None = None
) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "shards").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    (checkpoint / "shards/.metadata").write_bytes(b"as FSDP writes it")
    (checkpoint / STATE).write_text(json.dumps({"best_global_step": best}), encoding="utf-8")
    if complete:
        mark_complete(checkpoint, budget=100 * step)
    return checkpoint


def test_the_newest_that_is_complete_is_taken_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert latest(tmp_path / "nowhere") is None
    for step in (4, 8, 12):
        make_checkpoint(tmp_path, step, complete=step < 12)
    found = latest(tmp_path)
    assert found == tmp_path / "checkpoint-8"
    assert read_budget(found) == 800
    assert caplog.messages == [f"{tmp_path}/checkpoint-12 is passed over: it was never completed."]


FILES = ("model.safetensors", "shards/.metadata", STATE, BUDGET)


def replaced_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (Path.unlink, "is not there"),
    "a folder": (replaced_by_a_folder, "is not there"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "bytes in place of"),
    "overwritten": (
        lambda file: file.write_bytes(b"x" * file.stat().st_size),
        "has other bytes than were written",
    ),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("what", DAMAGE)
def test_one_that_was_damaged_is_passed_over_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, what: str
) -> None:
    for step in (4, 8):
        make_checkpoint(tmp_path, step)
    act, sentence = DAMAGE[what]
    act(tmp_path / "checkpoint-8" / file)
    assert latest(tmp_path) == tmp_path / "checkpoint-4"
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}/checkpoint-8 is passed over: its {file} ")
    assert sentence in line


def test_every_bit_of_the_list_counts(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, 4)
    content = (checkpoint / COMPLETE).read_bytes()
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        (checkpoint / COMPLETE).write_bytes(flipped)
        assert damage(checkpoint), flipped
    (checkpoint / COMPLETE).write_bytes(content)
    assert damage(checkpoint) is None


def test_a_list_that_lost_its_entries_is_no_list(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path, 4)
    for text in ("", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', "\udcff"):
        (checkpoint / COMPLETE).write_text(text, encoding="utf-8", errors="surrogateescape")
        assert latest(tmp_path) is None, text


def test_a_checkpoint_whose_best_is_damaged_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The run would end with the best model, which it could not load."""
    make_checkpoint(tmp_path, 4, best=4)
    make_checkpoint(tmp_path, 8, best=8)
    newest = make_checkpoint(tmp_path, 12, best=8)
    assert latest(tmp_path) == newest
    (tmp_path / "checkpoint-8/model.safetensors").unlink()
    assert latest(tmp_path) == tmp_path / "checkpoint-4"
    assert "checkpoint-12 is passed over: of the best one until then, checkpoint-8, " in caplog.text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("best", "kept"),
    [(None, {8, 12}), (12, {8, 12}), (8, {8, 12}), (4, {4, 12})],
)
def test_the_newest_and_the_best_are_kept(tmp_path: Path, best: int | None, kept: set[int]) -> None:
    for step in (4, 8, 12):
        make_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-2.discarded").mkdir()
    of_best = tmp_path / f"checkpoint-{best}" if best else None
    remove_older(tmp_path / "checkpoint-12", 2, of_best)
    assert names(tmp_path) == {f"checkpoint-{step}" for step in kept}


@pytest.mark.parametrize(("start", "kept"), [(None, set()), (8, {4, 8})])
def test_what_a_run_will_write_again_is_removed(
    tmp_path: Path, start: int | None, kept: set[int]
) -> None:
    for step in (4, 8, 12):
        make_checkpoint(tmp_path, step)
    remove_newer(tmp_path, tmp_path / f"checkpoint-{start}" if start else None)
    assert names(tmp_path) == {f"checkpoint-{step}" for step in kept}
    remove_newer(tmp_path / "nowhere", None)


def test_all_is_on_the_disk_before_the_list_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the power goes, a list is there only with all that it lists."""
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        # The list is written under another name and gets its own when it is whole.
        synced.append(path.relative_to(tmp_path).as_posix())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    make_checkpoint(tmp_path, 4)
    listed = synced.index(f"checkpoint-4/{COMPLETE}")
    before = {f"checkpoint-4/{name}" for name in (*FILES, "shards")} | {"checkpoint-4"}
    assert before <= {*synced[:listed]}
    assert {"checkpoint-4", "."} <= {*synced[listed:]}


def test_a_checkpoint_is_complete_when_all_else_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        make_checkpoint(tmp_path, 4)
    assert latest(tmp_path) is None


def age(path: Path, days: float) -> None:
    then = time.time() - days * 24 * 60 * 60
    for part in (*path.rglob("*"), path):
        os.utime(part, (then, then))


def test_folders_that_no_run_has_used_for_long_are_removed(tmp_path: Path) -> None:
    names = [letter * 24 for letter in "abcdef"]
    mine, old, recent, old_with_a_new_checkpoint, empty, discarded = (tmp_path / x for x in names)
    discarded = discarded.with_suffix(".discarded")
    for folder in (mine, old, recent, old_with_a_new_checkpoint, discarded):
        make_checkpoint(folder, 4)
    empty.mkdir()
    foreign = tmp_path / "notes"
    foreign.mkdir()
    for path in tmp_path.iterdir():
        age(path, UNUSED_DAYS + 1)
    age(recent, UNUSED_DAYS - 1)
    (old_with_a_new_checkpoint / "checkpoint-4" / COMPLETE).touch()
    remove_unused(mine)
    assert {*tmp_path.iterdir()} == {mine, recent, old_with_a_new_checkpoint, foreign}
    assert latest(mine) is not None


def test_a_run_that_takes_up_an_old_checkpoint_keeps_it_from_others(tmp_path: Path) -> None:
    mine, other = tmp_path / ("a" * 24), tmp_path / ("b" * 24)
    make_checkpoint(mine, 4)
    age(mine, UNUSED_DAYS + 1)
    remove_unused(mine)
    remove_unused(other)
    assert latest(mine) is not None


def test_a_folder_that_another_run_is_removing_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, gone, old = (tmp_path / (letter * 24) for letter in "abc")
    for folder in (mine, gone, old):
        make_checkpoint(folder, 4)
        age(folder, UNUSED_DAYS + 1)
    removed = checkpoints.discard

    def first(folder: Path) -> None:
        if folder == gone:
            shutil.rmtree(folder)
            raise FileNotFoundError(folder)
        removed(folder)

    monkeypatch.setattr(checkpoints, "discard", first)
    remove_unused(mine)
    assert [*tmp_path.iterdir()] == [mine]


def test_there_may_be_nothing_to_remove(tmp_path: Path) -> None:
    remove_unused(tmp_path / "nowhere" / ("a" * 24))
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_discarded_half_way_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("a" * 24)
    make_checkpoint(folder, 4)
    removed = checkpoints.remove

    def killed(path: Path) -> None:
        if path.exists():
            (path / "checkpoint-4/model.safetensors").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            discard(folder)
    assert latest(folder) is None
    assert checkpoints.remove is removed
    make_checkpoint(folder, 4)
    discard(folder)
    assert not list(tmp_path.iterdir())
    discard(folder)


def test_another_run_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 24)
    with only_run(folder):
        with only_run(tmp_path / ("b" * 24)):
            pass
        make_checkpoint(folder, 4)
        discard(folder)  # which renames it
        refused = pytest.raises(
            InputError, match=rf"process {os.getpid()} on host .*, and run again"
        )
        with refused, only_run(folder):
            pass
    assert not list(tmp_path.iterdir())
    with only_run(folder):
        pass


def test_the_file_that_a_killed_run_left_locks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 24)
    folder.with_suffix(".lock").write_text("1 elsewhere\n", encoding="utf-8")
    with only_run(folder):
        assert folder.with_suffix(".lock").read_text().startswith(f"{os.getpid()} ")


def test_a_file_that_is_removed_while_it_is_being_locked_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the run before ends between a run's opening of the file and its locking."""
    folder = tmp_path / ("a" * 24)
    lock, flock = folder.with_suffix(".lock"), fcntl.flock
    calls = []

    def late(file: Any, how: int) -> None:
        calls.append(how)
        if len(calls) == 1:
            lock.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with only_run(folder):
        assert len(calls) == 2
        with pytest.raises(InputError), only_run(folder):
            pass


def test_a_file_system_without_locks_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with only_run(tmp_path / ("a" * 24)):
        assert "cannot be locked" in caplog.text


def test_an_old_folder_that_a_run_has_locked_is_kept_and_old_locks_go(tmp_path: Path) -> None:
    mine, used, killed = (tmp_path / (letter * 24) for letter in "abc")
    killed.with_suffix(".lock").touch()
    with only_run(used):
        make_checkpoint(used, 4)
        for path in tmp_path.iterdir():
            age(path, UNUSED_DAYS + 1)
        remove_unused(mine)
        assert {*tmp_path.iterdir()} == {used, used.with_suffix(".lock")}
