"""Training side by side: TRL's RewardTrainer and this project's, on the same pairs in one run.

    python -m benchmarks.train --profile helpsteer --max-length 256
    python -m benchmarks.train --profile ranked4 --batch-pairs 48 --micro-batch-tokens 1536
    python -m benchmarks.train --layers 12 --trained-layers 2 --epochs 3 --steps 1

(a) TRL with its defaults, (b) TRL without checkpointing at its best batch size, (c) PairTrainer,
and with --flash-pref (d) flash-preference in TRL at the batch size of (b): the same initial
weights, pairs in every step and number of steps, in turns. Prints a table and, as
its last line, one JSON object; benchmarks/README.md explains both.
"""

import argparse
import json
import math
import platform
import statistics
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pairs import PROFILES
from benchmarks.variants import Bench, variant

VARIANTS = {"a": "TRL, defaults", "b": "TRL, best batch", "c": "this project"}
FLASH = {"d": "flash-preference"}
DEFAULT_BATCH = 8  # of (a): RewardConfig's


def main(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON line."""
    variants = VARIANTS | (FLASH if options.flash_pref else {})
    if options.without_defaults:
        del variants["a"]
    rival = next(iter(variants))
    best = best_batch(options)
    default = math.gcd(DEFAULT_BATCH, options.batch_pairs)  # as many as divide a step
    batches = {"a": default, "b": best, "c": options.batch_pairs, "d": best}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    rates: list[float] = []
    states: list[float] = []
    steps = options.steps * options.epochs
    with ExitStack() as stack:
        ask = {
            name: stack.enter_context(variant(name, options, batch))
            for name, batch in batches.items()
            if name in variants
        }
        for _ in range(options.rounds):
            for name in variants:
                seconds[name].append(ask[name](Bench.timed_round) / steps)
            rates.append(ask["c"](Bench.product_rate))
            if options.trained_layers < options.layers:
                states.append(ask["c"](Bench.write_states))
        memory = {name: ask[name](Bench.memory_raised) for name in variants}
        task = ask["c"](Bench.task)
        wanted, reached = (ask[name](Bench.first_gradient) for name in (rival, "c"))

    step = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    speed = {name: task["valid_tokens"] / steps / step[name] for name in variants}
    rate = statistics.median(rates)
    for name, what in variants.items():
        print(
            f"({name}) {what:16} {speed[name]:10.1f} valid tokens/s "
            f"{step[name]:9.3f} s/step {memory[name]:9} MB"
        )
    result = {
        **({"c_over_a": round(step["a"] / step["c"], 3)} if "a" in step else {}),
        "c_over_b": round(step["b"] / step["c"], 3),
        "best_b_batch": best,
        **({"c_over_d": round(step["d"] / step["c"], 3)} if options.flash_pref else {}),
        **(_with_states(step, states, steps) if states else {}),
        # What is not computed is not counted where layers stay as they are.
        "utilisation": None
        if states or not task["flops"]
        else round(task["flops"] / steps / step["c"] / rate, 3),
        "gradient_difference": float(np.linalg.norm(wanted - reached) / np.linalg.norm(wanted)),
        "memory_c_over_b": round(memory["c"] / memory["b"], 3),
        "tokens_per_second": {name: round(speed[name], 1) for name in variants},
        "seconds_per_step": {n: [round(s, 4) for s in rounds] for n, rounds in seconds.items()},
        "memory_mb": memory,
        "product_tflops": round(rate / 1e12, 4),
        "profile": str(options.pairs or options.profile),
        "max_length": options.max_length,
        "lora": options.lora,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
    }
    print(json.dumps(result | task))


def _with_states(step: dict[str, float], states: list[float], steps: int) -> dict[str, Any]:
    """How many times as fast (c) is as (b) where its states have to be computed first."""
    first = statistics.median(states) + step["c"] * steps
    return {
        "first_over_b": round(step["b"] * steps / first, 3),
        "states_seconds": [round(seconds, 4) for seconds in states],
    }


def best_batch(options: argparse.Namespace) -> int:
    """The batch size at which TRL without checkpointing is fastest; each gets one round."""
    took = {}
    for size in options.batch_sizes:
        if options.batch_pairs % size == 0:
            with variant("b", options, size) as ask:
                took[size] = ask(Bench.timed_round) / options.steps / options.epochs
    print("(b) by batch size:", {size: f"{seconds:.2f} s/step" for size, seconds in took.items()})
    return min(took, key=took.__getitem__)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--profile", choices=PROFILES, default="helpsteer", help="lengths of the pairs")
    add("--pairs", type=Path, help="real pairs instead: a parquet file that tokenize wrote")
    add("--max-length", type=int, default=256, help="tokens of a prompt and a response")
    add("--lora", action="store_true", help="adapters of rank 16 instead of all weights")
    add("--layers", type=int, default=4, help="layers of the model")
    add("--width", type=int, default=768, help="width of the model")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where to train")
    add("--without-defaults", action="store_true", help="leave out (a), TRL with its defaults")
    add("--flash-pref", action="store_true", help="run (d) as well, on a Llama; needs CUDA")
    add(
        "--trained-layers",
        type=int,
        default=math.inf,
        help="how many layers are trained, from the last (default: all)",
    )
    add("--epochs", type=int, default=1, help="epochs of each round's steps")
    tried = [1, 2, 4, 8, 16]
    add("--batch-sizes", type=int, nargs="+", default=tried, help="batch sizes tried for (b)")
    add("--rounds", type=int, default=5, help="rounds, of which the median is taken")
    add("--steps", type=int, default=3, help="optimiser steps per round")
    add("--batch-pairs", type=int, default=16, help="pairs per optimiser step")
    add(
        "--micro-batch-tokens",
        type=int,
        help="tokens computed at once by (c) (default: that of params.yaml)",
    )
    add("--seed", type=int, default=0, help="random seed of weights and texts")
    options = parser.parse_args()
    if options.flash_pref and not torch.cuda.is_available():
        parser.error("--flash-pref needs a CUDA GPU, and flash-pref and flash-attn installed")
    return options


if __name__ == "__main__":
    main(read_options())
