"""One training alone and two at once on one machine, by how OpenMP's threads wait.

    python -m benchmarks.together

OpenMP's threads spin by default while they wait: they hold the core that the other training
needs. Trains on the sample's pairs as the stage train does, all in one run, in turns. Prints a
table and, as its last line, one JSON object.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import yaml

from reward.harness.closure import PROJECT
from reward.harness.params import load_params
from stages.download import DownloadParams, download
from stages.split import SplitParams, split
from stages.states import StatesParams, states
from stages.tokenize import TokenizeParams, tokenize

WAITING = {  # variables of the environment
    "default": {},
    "short": {"GOMP_SPINCOUNT": "1000"},  # that of `launcher` in params.yaml
    "passive": {"OMP_WAIT_POLICY": "passive"},
}
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def main(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON line."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, options.pairs)
        for _ in range(options.rounds):
            for waiting in WAITING:
                for trainings in (1, 2):
                    took = train(folder, trainings, WAITING[waiting])
                    seconds.setdefault(f"{waiting}, {trainings} at once", []).append(took)
    median = {name: statistics.median(took) for name, took in seconds.items()}
    for name, took in median.items():
        print(f"{name:20} {took:8.1f} s")
    alone, two = ({name: median[f"{name}, {n} at once"] for name in WAITING} for n in (1, 2))
    result = {
        "alone_over_default": {name: round(alone[name] / alone["default"], 3) for name in WAITING},
        "two_over_default": {name: round(two[name] / two["default"], 3) for name in WAITING},
        "two_over_alone": {name: round(two[name] / alone[name], 3) for name in WAITING},
        "seconds": {name: [round(one, 2) for one in took] for name, took in seconds.items()},
        "pairs": options.pairs,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "torch": version("torch")},
    }
    print(json.dumps(result))


def prepare(folder: Path, pairs: int) -> None:
    """What train reads: the first pairs of the sample, in tokens, for one epoch."""
    lines = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "pairs.jsonl").write_text("\n".join(lines[:pairs]), encoding="utf-8")
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    params["datasets"]["sample"]["source"] = str(folder / "pairs.jsonl")
    params["backbones"]["tiny"]["source"] = str(PROJECT / "data/sources/tiny")
    params["train"]["epochs"] = 1
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    raw, backbone, splits = (folder / name for name in ("raw", "backbone", "splits"))
    download(load_params(DownloadParams, path), raw, backbone)
    split(load_params(SplitParams, path), raw, splits)
    tokenize(load_params(TokenizeParams, path), splits, backbone, folder / "tokens")
    given, out = load_params(StatesParams, path), folder / "states"
    states(given, folder / "tokens", backbone, out, folder / "depths.json")


def train(folder: Path, trainings: int, waiting: Mapping[str, str]) -> float:
    """Seconds until all of some trainings that start together have ended."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment |= {"PYTHONPATH": str(PROJECT), **waiting}
    with tempfile.TemporaryDirectory() as scratch:
        begin = time.perf_counter()
        running = []
        for number in range(trainings):
            out = Path(scratch) / str(number)
            out.mkdir()
            command = [sys.executable, "-m", "stages.train", "--tokens", str(folder / "tokens")]
            command += ["--backbone", str(folder / "backbone"), "--model", str(out / "model")]
            command += ["--states", str(folder / "states"), "--metrics", str(out / "train.json")]
            command += ["--curve", str(out / "curve.csv")]
            own = environment | {"DVC_ROOT": str(out)}
            running.append(
                subprocess.Popen(command, cwd=folder, env=own, stderr=subprocess.DEVNULL)
            )
        codes = [process.wait() for process in running]
        if any(codes):
            raise RuntimeError(f"a training ended with {codes}")
        return time.perf_counter() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of the sample")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each case")
    main(parser.parse_args())
