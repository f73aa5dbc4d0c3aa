"""Processes of stages and commands that take signals, and a folder in which download runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.pipeline import PROJECT
from tests.support.runs import read_params, write_params

DOWNLOAD = ["-m", "stages.download", "--raw", "data/raw", "--backbone", "data/backbone"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PROJECT)}
ENVIRONMENT.pop("PYTHONUNBUFFERED", None)  # with which argparse keeps silent of a closed pipe


def take_interrupts() -> None:
    """A shell's background job, as a whole test run may be, would ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(words: list[str], folder: Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, *words],
        cwd=folder,
        text=True,
        preexec_fn=take_interrupts,
        **{"env": ENVIRONMENT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )


def ready_to_download(folder: Path) -> Path:
    """Write a params.yaml by which download reads the sample."""
    params = read_params(PROJECT)
    params["datasets"]["sample"]["source"] = str(PROJECT / "data/sources/sample.jsonl")
    params["backbones"]["tiny"]["source"] = str(PROJECT / "data/sources/tiny")
    write_params(folder, params)
    return folder
