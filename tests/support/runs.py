"""The stages train and evaluate run as processes in a folder, as dvc.yaml does."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from reward.harness.params import load_params
from stages.download import DownloadParams, download
from stages.split import SplitParams, split
from stages.states import StatesParams, states
from stages.tokenize import TokenizeParams, tokenize
from tests.support.models import save_weights
from tests.support.pipeline import options

PROJECT = Path(__file__).parents[2]
PAIRS = 150


def prepare(folder: Path) -> Path:
    """Make a folder in which train can start: 150 short pairs of the sample, small steps."""
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    return _prepare(folder, lines[:PAIRS], {})


def prepare_ranked(folder: Path, prompts: int = 40) -> Path:
    """The same with all pairs of two to five rated answers to each of some prompts, few of which
    fit into a micro-batch at once.
    """
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[: 5 * prompts]]
    answers = [row[side][-1]["content"] for row in rows for side in ("chosen", "rejected")]
    ranked = [
        {
            "prompt": row["prompt"],
            "responses": answers[5 * place : 5 * place + place % 4 + 2],
            "scores": [5.0, 4.0, 3.5, 2.0, 1.0][: place % 4 + 2],
        }
        for place, row in enumerate(rows[:prompts])
    ]
    return _prepare(folder, [json.dumps(row) for row in ranked], {"comparisons": "all"})


def _prepare(folder: Path, lines: list[str], entry: dict[str, Any]) -> Path:
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    params = read_params(PROJECT)
    params["max_length"] = 48
    params["datasets"]["sample"] = {"source": str(folder / "pairs.jsonl"), **entry}
    params["backbones"]["tiny"]["source"] = str(PROJECT / "data/sources/tiny")
    # Several micro-batches make a step, so that adding up is tested as well.
    few_tokens = params["train"]["micro_batch_tokens"] | {"cpu": 200}
    params["train"] |= {"epochs": 2, "batch_pairs": 8, "checkpoint_steps": 4}
    params["train"] |= {"micro_batch_tokens": few_tokens}
    write_params(folder, params)
    path = folder / "params.yaml"
    download(load_params(DownloadParams, path), folder / "data/raw", folder / "data/backbone")
    split(load_params(SplitParams, path), folder / "data/raw", folder / "data/splits")
    tokenize(
        load_params(TokenizeParams, path),
        folder / "data/splits",
        folder / "data/backbone",
        folder / "data/tokens",
    )
    data = folder / "data"
    given = load_params(StatesParams, path)
    states(given, data / "tokens", data / "backbone", data / "states", data / "depths.json")
    (folder / "metrics").mkdir()
    return folder


def give_weights(folder: Path, **entry: Any) -> None:
    """Let the backbone in a folder be one with weights, and change its entry in params.yaml."""
    backbone = folder / "data/backbone"
    save_weights(backbone)
    source = json.loads((backbone / "source.json").read_text(encoding="utf-8"))
    source["weights"] = ["model.safetensors"]
    (backbone / "source.json").write_text(json.dumps(source), encoding="utf-8")
    params = read_params(folder)
    params["backbones"]["tiny"] |= entry
    write_params(folder, params)


def read_params(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))


def write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def copy(prepared: Path, folder: Path, **train: Any) -> Path:
    """A fresh checkout of the prepared folder with other values in its `train` section."""
    shutil.copytree(prepared, folder)
    params = read_params(folder)
    params["train"] |= train
    write_params(folder, params)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(PROJECT),
        "DVC_ROOT": str(folder),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def start(folder: Path, *launcher: str, stage: str = "train") -> subprocess.Popen[str]:
    """Start a stage in a folder, as dvc.yaml does; the launcher is Python if none is given."""
    (folder / "data/testsets").mkdir(exist_ok=True)
    command = [*(launcher or (sys.executable,)), "-m", f"stages.{stage}", *options(stage)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )


def finish(folder: Path, *launcher: str, stage: str = "train") -> str:
    """Run a stage to its end, which must be a good one; returns what it printed to stderr."""
    process = start(folder, *launcher, stage=stage)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def torchrun(folder: Path, processes: int) -> tuple[str, ...]:
    """A launcher of several processes, each of which asserts that it is one of so many.

    Each leaves a file in the folder `ranks`: `train-0` for rank 0.
    """
    counted = str(PROJECT / "tests/support/counted.py")
    return (
        *("torchrun", "--standalone", "--nproc_per_node", str(processes)),
        *(counted, str(processes), str(folder / "ranks")),
    )


def kill(folder: Path, ready: Callable[[], bool]) -> None:
    """Start the stage and kill it as soon as it is `ready`."""
    process = start(folder)
    while process.poll() is None and not ready():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "data/model").exists()


def kill_all(folder: Path, *launcher: str, ready: Callable[[], bool]) -> None:
    """Start the stage by a launcher, and kill that with its processes as soon as it is `ready`."""
    process = start(folder, *launcher)
    while process.poll() is None and not ready():
        time.sleep(0.005)
    everyone = [psutil.Process(process.pid)]
    everyone += everyone[0].children(recursive=True)
    assert len(everyone) >= 3
    for one in everyone:
        one.suspend()  # so that none sees another end, and says so
    for one in everyone:
        one.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs(everyone, timeout=300)
    assert not alive
    assert not (folder / "data/model").exists()


def kill_after(folder: Path, steps: int) -> None:
    (folder / "metrics/train_curve.csv").unlink(missing_ok=True)  # as DVC does before a stage
    kill(folder, lambda: rows_of(folder) >= steps)


def results(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "data/model").iterdir(), *(folder / "metrics").iterdir()]
    return {file.name: file.read_bytes() for file in files}


def curve(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics/train_curve.csv").open()))


def rows_of(folder: Path) -> int:
    path = folder / "metrics/train_curve.csv"
    return len(path.read_text(encoding="utf-8").splitlines()) - 1 if path.exists() else 0
