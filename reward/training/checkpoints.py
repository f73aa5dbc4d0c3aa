"""Checkpoints of a run that may be killed: where they lie and which of them a run may take up.

DVC deletes a stage's outputs before the stage starts, so checkpoints lie outside of them, below the
main checkout even when an experiment runs in a temporary one. The folder's name is a fingerprint of
all that the weights depend on: a run with another value anywhere never finds them.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from reward.harness.closure import PROJECT, import_closure
from reward.harness.files import read_json, remove, sha256, write_json

FOLDER = ".checkpoints"
COMPLETE = "complete"  # a checkpoint without this file was cut off while it was written
BUDGET = "budget.json"  # the token budget of a checkpoint's run
STAGE = "stages/train.py"  # whose code the weights depend on
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "numpy")
DISCARDED = ".discarded"  # ends the name of a folder that is being removed
UNUSED_DAYS = 30  # after which the checkpoints of a run that was never finished are removed


def checkpoint_folder(
    values: Mapping[str, Any], inputs: Sequence[Path], device: torch.device, processes: int
) -> Path:
    """The folder for checkpoints of this very run.

    values: what the weights depend on of params.yaml, fit for JSON. inputs: files and folders that
    the stage reads. The project's code that the stage imports, the versions of the libraries and
    the hardware's shape count as well; where the project and its inputs lie does not.
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
    (checkpoint / COMPLETE).touch()


def read_budget(checkpoint: Path) -> int:
    """The tokens that one micro-batch had at most when the checkpoint was written."""
    return read_json(checkpoint / BUDGET)["tokens"]


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None where there is none."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


def remove_unused(mine: Path) -> None:
    """Remove what runs have left that were cut off and never taken up again.

    mine: this run's folder, which is marked as in use from now on. Beside it, the folders of other
    fingerprints go in which nothing has changed for UNUSED_DAYS. A run that is alive changes its
    own when it starts and at every checkpoint, so it never loses what it may go on from.
    """
    with suppress(FileNotFoundError):
        os.utime(mine)
    if not mine.parent.exists():
        return
    last_use = time.time() - UNUSED_DAYS * 24 * 60 * 60
    for folder in mine.parent.iterdir():
        if folder == mine or not re.fullmatch("[0-9a-f]{24}", folder.name.removesuffix(DISCARDED)):
            continue
        # Another run may be removing the same folder, and another user may own it.
        with suppress(OSError):
            if _last_change(folder) < last_use:
                discard(folder)


def _last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


def discard(folder: Path) -> None:
    """Remove a run's checkpoints, if any, so that no run takes up what is left of them half-way."""
    discarded = folder.with_suffix(DISCARDED)
    if folder.exists() and folder != discarded:
        remove(discarded)
        folder.rename(discarded)
    remove(discarded)
