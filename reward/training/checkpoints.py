"""Checkpoints of a run that may be killed: where they lie and which of them a run may take up.

DVC deletes a stage's outputs before the stage starts, so checkpoints lie outside of them, below the
main checkout even when an experiment runs in a temporary one. The folder's name is a fingerprint of
all that the weights depend on: a run with another value anywhere never finds them. Beside the
folder lies a lock, which its run holds from the first step to the last.
"""

import fcntl
import hashlib
import json
import logging
import os
import re
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch

from reward.harness.closure import PROJECT, import_closure
from reward.harness.errors import InputError
from reward.harness.files import NO_LOCKS, read_json, remove, sha256, sync, write_json
from reward.training.manifest import damage, write_manifest

log = logging.getLogger(__name__)

FOLDER = ".checkpoints"
PREFIX = "checkpoint-"  # begins the name of each that transformers writes; the step follows
BUDGET = "budget.json"  # the token budget of a checkpoint's run
STATE = "trainer_state.json"  # transformers' record, which names the best checkpoint so far
STAGE = "stages/train.py"  # whose code the weights depend on
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "numpy")
DISCARDED = ".discarded"  # ends the name of a folder that is being removed
LOCK = ".lock"  # ends the name of the file beside a folder that its run has locked
UNUSED_DAYS = 30  # after which the checkpoints of a run that was never finished are removed


def checkpoint_folder(
    values: Mapping[str, Any], inputs: Sequence[Path], device: torch.device, processes: int
) -> Path:
    """The folder for checkpoints of this very run.

    values: what the weights depend on of params.yaml, and how processes share the work (FSDP's
    settings), fit for JSON. inputs: files and folders that the stage reads. processes: how many
    share the work, over all hosts. The project's code that the stage imports, the versions of the
    libraries and the hardware's shape count as well; where the project and its inputs lie does not.
    """
    facts = [f"{name} {sha256(PROJECT / name)}" for name in sorted(import_closure(STAGE, PROJECT))]
    facts += [f"{name} {sha256(file)}" for path in inputs for name, file in _files(path)]
    facts += [f"{library} {version(library)}" for library in LIBRARIES]
    facts += [json.dumps(values, sort_keys=True)]
    # Sums are taken in another order with other threads, processes and devices.
    facts += [f"{device.type} {processes} {torch.get_num_threads()}"]
    digest = hashlib.sha256("\n".join(facts).encode())
    root = Path(os.environ.get("DVC_ROOT", "."))
    return root.resolve() / FOLDER / digest.hexdigest()[:24]


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep every other run out of a checkpoint folder, which need not be there, within the block.

    The lock ends with the process, however it ends, and none is ever left over. It lies beside the
    folder, which `discard` renames. It holds between hosts where the file system passes flock on,
    as NFS does from version 4 (there a host that is lost keeps its locks until its lease ends,
    about 90 seconds) and Lustre where it is mounted with `flock`. A file system without locks gives
    a warning.

    Raises InputError where another run holds it.
    """
    path = folder.with_suffix(LOCK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        file.truncate(0)
        file.write(f"{os.getpid()} {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: see _locked


def _locked(path: Path) -> TextIO:
    """A file that this process alone has locked, until it closes it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = re.fullmatch(r"(\d+) (.+)\n", file.read())
            file.close()
            whose = f"process {holder[1]} on host {holder[2]}" if holder else "a process"
            raise InputError(
                f"{whose} is training with the same values and writes to {path.with_suffix('')}: "
                f"let it finish, or end it, and run again, which goes on from its last checkpoint."
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise
            log.warning("%s cannot be locked: start no second run of the same values.", path)
            return file
        # The file may have been removed, or another one made, since it was opened.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """An input's files, each with its name, in the order of their names."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    yield from sorted((file.relative_to(path.parent).as_posix(), file) for file in files)


def mark_complete(checkpoint: Path, budget: int) -> None:
    """Enter the token budget in use into a checkpoint, and then that it is written to its end.

    Without the budget, a run that goes on after it has run out of memory would cut its next batches
    otherwise than the one that was cut off, and end with other bytes.
    """
    write_json(checkpoint / BUDGET, {"tokens": budget})
    write_manifest(checkpoint)


def read_budget(checkpoint: Path) -> int:
    """The tokens that one micro-batch had at most when the checkpoint was written."""
    return read_json(checkpoint / BUDGET)["tokens"]


def latest(folder: Path) -> Path | None:
    """The newest checkpoint that a run can go on from, None where there is none.

    All its files are as they were written, and so are those of the best checkpoint that it names. A
    newer one that is not so is passed over with a line on stderr.
    """
    for checkpoint in sorted(_checkpoints(folder), key=step_of, reverse=True):
        wrong = damage(checkpoint) or _damage_of_best(checkpoint)
        if not wrong:
            return checkpoint
        log.warning("%s is passed over: %s.", checkpoint, wrong)
    return None


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


def _checkpoints(folder: Path) -> list[Path]:
    """Those of a run that are not being removed, complete or not."""
    return [path for path in folder.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdecimal()]


def _damage_of_best(checkpoint: Path) -> str | None:
    best = read_json(checkpoint / STATE)["best_global_step"]
    if best is None or best == step_of(checkpoint):
        return None
    wrong = damage(checkpoint.with_name(f"{PREFIX}{best}"))
    return wrong and f"of the best one until then, {PREFIX}{best}, {wrong}"


def remove_older(newest: Path, keep: int, best: Path | None) -> None:
    """Remove a run's checkpoints but `keep`: the newest, the best, and then the next newest.

    To be called when the newest is complete: a run that is killed here goes on from that.
    """
    others = sorted(_checkpoints(newest.parent), key=step_of, reverse=True)
    kept = [newest, *([best] if best and best != newest else [])]
    kept += [path for path in others if path not in kept][: max(keep - len(kept), 0)]
    _remove_all_but(kept, newest.parent)


def remove_newer(folder: Path, start: Path | None) -> None:
    """Remove the checkpoints that a run will write again, as it goes on from an older one."""
    first = step_of(start) if start else -1
    _remove_all_but([path for path in _checkpoints(folder) if step_of(path) <= first], folder)


def _remove_all_but(kept: Collection[Path], folder: Path) -> None:
    for path in folder.glob(f"{PREFIX}*"):  # with what is left of earlier removals
        if path not in kept:
            discard(path)


def remove_unused(mine: Path) -> None:
    """Remove what runs have left that were cut off and never taken up again.

    mine: this run's folder, which is marked as in use from now on. Beside it, the folders of other
    fingerprints go in which nothing has changed for UNUSED_DAYS and that no run has locked.
    """
    with suppress(FileNotFoundError):
        os.utime(mine)
    if not mine.parent.exists():
        return
    last_use = time.time() - UNUSED_DAYS * 24 * 60 * 60
    for path in mine.parent.iterdir():
        if path.stem == mine.stem or not re.fullmatch(
            rf"[0-9a-f]{{24}}({DISCARDED}|{LOCK})?", path.name
        ):
            continue
        # Another run may be using or removing the same folder, and another user may own it.
        with suppress(OSError, InputError):
            if _last_change(path) < last_use:
                with only_run(path):  # which removes the lock at its end
                    if path.suffix != LOCK:
                        discard(path)


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def discard(folder: Path) -> None:
    """Remove a checkpoint or a run's folder of them, if it is there.

    It gets another name first, so that whoever looks for it finds the whole of it or nothing.
    """
    discarded = folder.with_suffix(DISCARDED)
    if folder.exists() and folder != discarded:
        remove(discarded)
        folder.rename(discarded)
        sync(folder.parent)
    remove(discarded)
