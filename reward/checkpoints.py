"""Checkpoints of a run that may be killed: where they lie and which of them a run may take up.

DVC deletes a stage's outputs before the stage starts, so checkpoints lie outside of them, below the
main checkout also when an experiment runs in a temporary one. The folder's name is a fingerprint of
all that the weights depend on: a run with another value anywhere never finds them.
"""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from reward.stage import Params

FOLDER = ".checkpoints"
COMPLETE = "complete"  # a checkpoint without this file was cut off while it was written
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")


def checkpoint_folder(
    params: Params, inputs: Sequence[Path], device: torch.device, processes: int
) -> Path:
    """The folder for checkpoints of this very run.

    params: all that the stage reads of params.yaml. inputs: files and folders that it reads. The
    project's code, the versions of the libraries and the hardware's shape count as well.
    """
    project = Path(__file__).parents[1]
    files = [project / "stages/train.py", *project.glob("reward/*.py")]
    for path in inputs:
        files += [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    facts = [f"{file.name} {_hash(file)}" for file in sorted(files)]
    facts += [f"{library} {version(library)}" for library in LIBRARIES]
    # Sums are taken in another order with other threads, processes and devices.
    facts += [params.model_dump_json(), f"{device.type} {processes} {torch.get_num_threads()}"]
    digest = hashlib.sha256("\n".join(facts).encode())
    root = Path(os.environ.get("DVC_ROOT", "."))
    return root.resolve() / FOLDER / digest.hexdigest()[:24]


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def mark_complete(checkpoint: Path) -> None:
    """Say that a checkpoint is written to its end."""
    (checkpoint / COMPLETE).touch()


def latest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None where there is none."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)
