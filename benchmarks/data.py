"""The data stages: tokenising side by side with others, and all of them at growing sizes.

    python -m benchmarks.data tokenize
    python -m benchmarks.data stages --sizes 10000 100000 1000000

Stages run as real processes, by the command lines in dvc.yaml. Both commands print a table and, as
their last line, one JSON object; benchmarks/README.md explains them.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.pairs import PROFILES
from reward.tokens.encoder import Encoder

PROJECT = Path(__file__).resolve().parent.parent
TINY = PROJECT / "data/sources/tiny"
STAGES = ("download", "split", "tokenize", "stats")
WORDS_PER_TOKEN = 0.75  # of English text and a tokenizer trained on much of it
BATCH = 1000  # pairs written at once
SAMPLE_TIME = 0.05  # seconds between two looks at a process's memory


def compare(options: argparse.Namespace) -> None:
    """tokenize against TRL's preparation and the bare tokenizer, on the same pairs."""
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        source = options.pairs or write_source(folder / "pairs.parquet", options.size, options.seed)
        write_params(folder, source, options.tokenizer)
        for stage in ("download", "split"):
            run_stage(stage, folder)
        backbone = folder / "data/backbone"
        files = sorted((folder / "data/splits").glob("*.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        ways: dict[str, Callable[[], float]] = {
            "ours": lambda: run_stage("tokenize", folder).seconds,
            "trl": trl_preparation(rows, backbone, folder),
            "bare": bare_tokenizer(rows, backbone),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(way())
    rate = {name: len(rows) / statistics.median(rounds) for name, rounds in seconds.items()}
    for name, pairs_per_second in rate.items():
        print(f"{name:8} {pairs_per_second:10.0f} pairs/s")
    result = {
        "ours_over_trl": round(rate["ours"] / rate["trl"], 3),
        "ours_over_bare": round(rate["ours"] / rate["bare"], 3),
        "pairs_per_second": {name: round(rate[name]) for name in rate},
        "seconds": {n: [round(s, 3) for s in rounds] for n, rounds in seconds.items()},
        "pairs": len(rows),
        "tokenizer": options.tokenizer.name,
        "cores": os.cpu_count(),
        "versions": {n: version(n) for n in ("tokenizers", "transformers", "trl", "pyarrow")},
    }
    print(json.dumps(result))


def trl_preparation(rows: list[dict[str, Any]], backbone: Path, folder: Path) -> Any:
    """What RewardTrainer does with its data when it is made, without reading the data."""
    import datasets
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    datasets.disable_caching()  # the second round would find the first one's result
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    tokenizer.chat_template = Encoder(backbone).chat_template
    max_length = yaml.safe_load((folder / "params.yaml").read_text())["max_length"]
    arguments = RewardConfig(str(folder), max_length=max_length, bf16=False, use_cpu=True)
    records = datasets.Dataset.from_list(
        [
            {"prompt": row["prompt"]}
            | {side: [answer(row[side])] for side in ("chosen", "rejected")}
            for row in rows
        ]
    )

    def timed() -> float:
        start = time.perf_counter()
        # The method reads nothing of its trainer, which would cost a network to make.
        RewardTrainer._prepare_dataset(None, records, tokenizer, arguments, "train")  # type: ignore[arg-type]
        return time.perf_counter() - start

    return timed


def bare_tokenizer(rows: list[dict[str, Any]], backbone: Path) -> Any:
    """The Rust tokenizer on all cores: texts are rendered before and ids are not looked at."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    encoder = Encoder(backbone)
    texts = [
        encoder.render([*row["prompt"], answer(row[side])])
        for row in rows
        for side in ("chosen", "rejected")
    ]

    def timed() -> float:
        start = time.perf_counter()
        for first in range(0, len(texts), 2 * BATCH):
            tokenizer.encode_batch_fast(texts[first : first + 2 * BATCH], add_special_tokens=False)
        return time.perf_counter() - start

    return timed


def answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def measure(options: argparse.Namespace) -> None:
    """All data stages, on as many synthetic pairs as each of the sizes says."""
    runs: dict[int, dict[str, Run]] = {}
    print("| pairs | stage | seconds | pairs/s | peak memory, MB | written, MB |")
    print("|---:|---|---:|---:|---:|---:|")
    for size in sorted(options.sizes):
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            folder = Path(scratch)
            source = write_source(folder / "pairs.parquet", size, options.seed)
            write_params(folder, source, TINY)
            runs[size] = {}
            for stage in STAGES:
                done = runs[size][stage] = run_stage(stage, folder)
                print(
                    f"| {size:,} | {stage} | {done.seconds:.1f} | {size / done.seconds:,.0f} "
                    f"| {done.peak / 1e6:,.0f} | {done.written / 1e6:,.1f} |",
                    flush=True,
                )
    result = {
        "stages": {
            stage: {
                size: {
                    "seconds": round(run[stage].seconds, 2),
                    "peak_mb": round(run[stage].peak / 1e6),
                    "written_mb": round(run[stage].written / 1e6, 1),
                }
                for size, run in runs.items()
            }
            for stage in STAGES
        },
        "linearity": {stage: linearity(runs, stage) for stage in STAGES},
        "largest_peak_mb": round(max(r.peak for run in runs.values() for r in run.values()) / 1e6),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("tokenizers", "pyarrow", "numpy")},
    }
    print(json.dumps(result))


class Run(NamedTuple):
    """One stage's process: seconds, and bytes at the peak of memory and of its outputs."""

    seconds: float
    peak: int
    written: int


def linearity(runs: dict[int, dict[str, Run]], stage: str) -> float | None:
    """Seconds that one more pair costs between the two largest sizes, relative to the two below.

    1 is linear; what a process costs before its first pair is left out. None below three sizes.
    """
    points = [(size, run[stage].seconds) for size, run in runs.items()]
    costs = [(t - s) / (n - m) for (m, s), (n, t) in pairwise(points)]
    return round(costs[-1] / costs[-2], 3) if len(costs) > 1 else None


def run_stage(stage: str, folder: Path) -> Run:
    """Run a stage in `folder`, by its command line in dvc.yaml."""
    entry = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    _, *arguments = shlex.split(entry["cmd"])
    messages = folder / f"{stage}.log"
    with messages.open("wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
            stderr=log,
        )
        status, peak = largest_memory(process.pid)
        seconds = time.perf_counter() - start
    if status:
        sys.exit(messages.read_text(encoding="utf-8"))
    listed = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
    paths = [folder / (out if isinstance(out, str) else next(iter(out))) for out in listed]
    files = [file for path in paths for file in [path, *path.rglob("*")] if file.is_file()]
    return Run(seconds, peak, sum(file.stat().st_size for file in files))


def largest_memory(pid: int) -> tuple[int, int]:
    """Wait for a process: its exit status, and the most bytes it and its children held at once.

    Sums of resident sizes: pages that several processes share count several times.
    """
    tree = psutil.Process(pid)
    peak = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            # The most that one process had between two looks; Linux counts kilobytes, macOS bytes.
            highest = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            return os.waitstatus_to_exitcode(status), max(peak, highest)
        with suppress(psutil.NoSuchProcess):
            held = [one.memory_info().rss for one in [tree, *tree.children(recursive=True)]]
            peak = max(peak, sum(held))
        time.sleep(SAMPLE_TIME)


def write_params(folder: Path, pairs: Path, backbone: Path) -> None:
    """The project's params.yaml with a dataset and a backbone of our own."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    entry = params["backbones"]["tiny"] | {"source": str(backbone.resolve())}
    params |= {
        "dataset": "measured",
        "datasets": {"measured": {"source": str(pairs.resolve())}},
        "backbone": "measured",
        "backbones": {"measured": entry},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def write_source(file: Path, size: int, seed: int) -> Path:
    """Pairs in the schema of HelpSteer2's binarized versions."""
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        {
            "prompt": pa.string(),
            "chosen": pa.list_(turn),
            "rejected": pa.list_(turn),
            "chosen_rating": pa.float64(),
            "rejected_rating": pa.float64(),
        }
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for texts in synthetic_texts(size, seed):
            rows = [
                {"prompt": prompt, "chosen_rating": 3.0, "rejected_rating": 2.0}
                | {
                    side: [{"role": "user", "content": prompt}, answer(text)]
                    for side, text in (("chosen", chosen), ("rejected", rejected))
                }
                for prompt, chosen, rejected in texts
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema))
    return file


def synthetic_texts(size: int, seed: int) -> Iterator[Sequence[tuple[str, str, str]]]:
    """Batches of (prompt, chosen, rejected): the sample's words in random order.

    Lengths are those of the helpsteer profile; a text has WORDS_PER_TOKEN words a token.
    """
    sample = (PROJECT / "data/sources/sample.jsonl").read_text(encoding="utf-8")
    words = " ".join(json.loads(line)["prompt"] for line in sample.splitlines()).split()
    profile, random = PROFILES["helpsteer"], np.random.default_rng(seed)
    for start in range(0, size, BATCH):
        count = min(BATCH, size - start)
        columns = []
        for lengths in (profile.prompt, *profile.answers):
            counts = np.maximum(lengths.draw(random, count) * WORDS_PER_TOKEN, 1).astype(int)
            drawn = iter(random.integers(0, len(words), counts.sum()).tolist())
            columns.append(
                [" ".join([words[next(drawn)] for _ in range(n)]) for n in counts.tolist()]
            )
        yield list(zip(*columns, strict=True))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--folder", type=Path, help="where temporary files go (default: the system's place)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the texts")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("tokenize", help=compare.__doc__)
    one.set_defaults(do=compare)
    tiny = PROJECT / "data/sources/tiny"
    one.add_argument(
        "--tokenizer", type=Path, default=tiny, help="folder with config and tokenizer"
    )
    one.add_argument("--size", type=int, default=20000, help="how many synthetic pairs")
    one.add_argument("--pairs", type=Path, help="real pairs instead: a file that download reads")
    one.add_argument("--rounds", type=int, default=5, help="rounds, of which the median is taken")
    many = commands.add_parser("stages", help=measure.__doc__)
    many.set_defaults(do=measure)
    many.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        help="how many synthetic pairs, run after run",
    )
    return parser.parse_args()


if __name__ == "__main__":
    options = read_options()
    options.do(options)
