"""A folder in which every stage has run once, and the command line of each of them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.pipeline import PIPELINE, PROJECT, written
from tests.support.runs import environment, prepare

STAGES = tuple(PIPELINE)
PREPARED = ("download", "split", "tokenize", "states")  # by prepare


def command(stage: str, outputs: str = "") -> list[str]:
    """What dvc.yaml runs, each output below the folder `outputs`."""
    words = shlex.split(PIPELINE[stage]["cmd"].replace("${launcher}", "python"))
    words = [os.path.join(outputs, word) if word in written(stage) else word for word in words]  # noqa: PTH118
    return [sys.executable, *words[1:]]


def run(
    folder: Path, stage: str, outputs: str = "", root: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a stage in a folder. root: what DVC would take for its main checkout, else the folder."""
    return subprocess.run(
        command(stage, outputs),
        cwd=folder,
        env=environment(root or folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def whole_run(folder: Path) -> Path:
    """Run all stages on a few pairs of the sample."""
    prepare(folder)
    for name in ("stages", "reward", ".dvc"):
        (folder / name).symlink_to(PROJECT / name)
    for stage in [name for name in STAGES if name not in PREPARED]:
        done = run(folder, stage)
        assert done.returncode == 0, done.stderr
    return folder
