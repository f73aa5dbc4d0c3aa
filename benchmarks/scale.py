"""Past one process: reward.score and tokenize alone, and on one and two workers of Ray.

    python -m benchmarks.scale

(a) in this process, with a thread for each core; (b) one worker of Ray with as many threads; (c) a
worker for each core with one thread each. The same rows in the same batches, read from the same
file. Start-up is until the first, single rows have come back from every worker: Ray's own, the
worker's imports, the model's or tokenizer's opening; in (a), where torch is imported already, the
opening alone. Prints a table and, as its last line, one JSON
object.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.data import TINY, answer, synthetic_texts
from benchmarks.pairs import PROFILES, draw_pairs
from benchmarks.score import make_model, pair_row
from reward.harness.engine import workers
from reward.pairs.preference import SCHEMA
from reward.scoring.devices import best_device, device_name
from reward.serving.batch import CHUNK_ROWS, BatchScorer
from reward.tokens.encoder import Encoder
from reward.tokens.records import TokenSettings
from reward.tokens.tokenization import BATCH_ROWS, Encoding

CORES = os.cpu_count() or 1
WAYS: dict[str, dict[str, Any]] = {
    "a": {"address": None},
    "b": {"address": "local", "count": 1, "cpus": CORES},
    "c": {"address": "local", "count": CORES, "cpus": 1},
}
MAX_LENGTH = 256  # tokens


class Run(NamedTuple):
    """Seconds until all workers had opened what they need, and for the rows after that."""

    startup: float
    seconds: float


def main(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON line."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model_options = argparse.Namespace(**vars(options), max_length=MAX_LENGTH)
        scorer = BatchScorer(make_model(model_options, folder / "model"))
        encoding = Encoding(TokenSettings(MAX_LENGTH, 0.25), Encoder(TINY))
        jobs: dict[str, tuple[Any, Path, int, int]] = {
            "score": (scorer, write_rows(options, folder), options.pairs, CHUNK_ROWS),
            "tokenize": (encoding, write_pairs(options, folder), options.tokenized, BATCH_ROWS),
        }
        for job, (work, file, rows, batch_rows) in jobs.items():
            runs = {way: measure(work, file, batch_rows, kind) for way, kind in WAYS.items()}
            for way, run in runs.items():
                rate = rows / run.seconds
                print(f"{job:8} ({way}) start {run.startup:6.1f} s {rate:10.1f} rows/s", flush=True)
            alone = runs["a"].seconds
            results[job] = {
                "b_cost_over_a": round(runs["b"].seconds / alone, 3),
                "c_cost_over_a": round(runs["c"].seconds / alone, 3),
                "rows_per_second": {way: round(rows / run.seconds, 1) for way, run in runs.items()},
                "seconds": {way: round(run.seconds, 2) for way, run in runs.items()},
                "startup": {way: round(run.startup, 2) for way, run in runs.items()},
                "rows": rows,
            }
    results |= {
        "threads": {"a": torch.get_num_threads(), "b": CORES, "c": f"{CORES} x 1"},
        "profile": "dialogue",
        "max_length": MAX_LENGTH,
        "model": f"gpt2 {options.layers}x{options.width}",
        "device": device_name(best_device()),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "ray", "pyarrow", "tokenizers")},
    }
    print(json.dumps(results))


def measure(work: Callable[[Any], Any], file: Path, batch_rows: int, kind: dict[str, Any]) -> Run:
    """Send a file's batches through `work`, after single rows that open the model everywhere."""
    start = time.perf_counter()
    with workers(**kind) as in_order:
        first = next(batches(file, batch_rows)).slice(0, 1)
        warm = [first] * 4 * kind.get("count", 1)
        results = in_order(work, chain(warm, batches(file, batch_rows)))
        for _ in warm:
            next(results)
        ready = time.perf_counter()
        for _ in results:
            pass
        return Run(ready - start, time.perf_counter() - ready)


def batches(file: Path, rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file, pre_buffer=False) as source:
        yield from source.iter_batches(rows)


def write_rows(options: argparse.Namespace, folder: Path) -> Path:
    """Pairs as the rows of a file to be scored."""
    random = np.random.default_rng(options.seed)
    pairs = draw_pairs(PROFILES["dialogue"], random, options.pairs, MAX_LENGTH)
    pq.write_table(
        pa.Table.from_pylist([pair_row(pair) for pair in pairs]), folder / "rows.parquet"
    )
    return folder / "rows.parquet"


def write_pairs(options: argparse.Namespace, folder: Path) -> Path:
    """Preferences of HelpSteer2's lengths, as split writes them."""
    file = folder / "pairs.parquet"
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for texts in synthetic_texts(options.tokenized, options.seed):
            rows = [
                {
                    "pair_id": f"{number:032x}",
                    "prompt": [answer(prompt) | {"role": "user"}],
                    "chosen": chosen,
                    "rejected": rejected,
                    "chosen_rating": None,
                    "rejected_rating": None,
                    "source": "made",
                }
                for number, (prompt, chosen, rejected) in enumerate(texts)
            ]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return file


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--pairs", type=int, default=12_288, help="pairs to score")
    add("--tokenized", type=int, default=50_000, help="pairs to tokenise")
    add("--layers", type=int, default=2, help="layers of the model")
    add("--width", type=int, default=256, help="width of the model")
    add("--seed", type=int, default=0, help="random seed of weights and texts")
    return parser.parse_args()


if __name__ == "__main__":
    main(read_options())
