"""A server beside one-by-one calls of transformers' pipeline: best of n, on one model.

    python -m benchmarks.serve

(p) the pipeline, called with each text by itself; (o) reward.serve, a request at a time with all n
answers to a prompt; (m) the same answers as n requests at once, prompt after prompt. In turns;
medians of the rounds. Then (c) a single burst: --burst requests at once, n of them to a prompt.
Latencies are those of requests, in seconds. Prints a table and, as its last line, one JSON object.
"""

import argparse
import asyncio
import json
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
from transformers import pipeline

from benchmarks.pairs import PROFILES, WORDS, shorten
from benchmarks.score import make_model, many_row, single_rows, words
from reward.scoring.devices import best_device, device_name, keep_freed_memory
from reward.scoring.groups import Group
from reward.scoring.quiet import quiet_transformers

NAMES = {
    "p": "pipeline, one by one",
    "o": "server, n in a request",
    "m": "server, n requests at once",
    "c": "server, the burst",
}
SECONDS = 600  # for a request
# A connection for each request, however many there are at once.
CONNECTIONS = httpx2.Limits(max_connections=None, max_keepalive_connections=None)


def main(options: argparse.Namespace) -> None:
    """Measure, print the table, print the JSON line."""
    keep_freed_memory()
    quiet_transformers()
    random = np.random.default_rng(options.seed)
    groups = draw(options, random, options.prompts)
    burst = draw(options, random, options.burst // options.answers)
    texts = [words(sequence) for group in groups for sequence in group.sequences]
    seconds: dict[str, list[float]] = {name: [] for name in "pom"}
    latencies: dict[str, list[float]] = {name: [] for name in "omc"}
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(make_model(options, Path(scratch) / "model")) as url,
    ):
        judge = pipeline("text-classification", str(Path(scratch) / "model"), device=best_device())
        together = [[many_row(group)] for group in groups]
        apart = [single_rows(group) for group in groups]
        for _ in range(options.rounds):
            start = time.perf_counter()
            plain = [judge(text, add_special_tokens=False)[0]["score"] for text in texts]
            seconds["p"].append(time.perf_counter() - start)
            for name, turns in (("o", together), ("m", apart)):
                took, each, rewards = asyncio.run(ask(url, turns))
                seconds[name].append(took)
                latencies[name] += each
                difference = np.abs(np.array(rewards) - plain).max()
        rows = [row for group in burst for row in single_rows(group)]
        took, latencies["c"], rewards = asyncio.run(ask(url, [rows]))
        seconds["c"] = [took]
        assert len(rewards) == len(rows)
        passes = httpx2.get(f"{url}/metrics").text
    median = {name: statistics.median(took) for name, took in seconds.items()}
    rate = {name: (len(rows) if name == "c" else len(texts)) / median[name] for name in NAMES}
    quantiles = {
        name: {f"p{q}": round(float(np.percentile(each, q)), 3) for q in (50, 99)}
        for name, each in latencies.items()
    }
    for name, what in NAMES.items():
        print(f"({name}) {what:28} {rate[name]:8.2f} responses/s  {quantiles.get(name, '')}")
    result = {
        "o_over_p": round(rate["o"] / rate["p"], 3),
        "m_over_p": round(rate["m"] / rate["p"], 3),
        "burst": {"requests": len(rows), "answered": len(rewards)},
        "largest_difference": float(difference),
        "responses_per_second": {name: round(one, 3) for name, one in rate.items()},
        "latency": quantiles,
        "tokens": {
            what: measure(passes, f'reward_tokens_total{{what="{what}"}}')
            for what in ("asked", "computed")
        },
        "seconds": {name: [round(one, 4) for one in took] for name, took in seconds.items()},
        "prompt": options.prompt,
        "profile": options.profile,
        "prompts": options.prompts,
        "answers": options.answers,
        "model": f"gpt2 {options.layers}x{options.width}",
        "device": f"{device_name(best_device())}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "fastapi", "uvicorn")},
    }
    print(json.dumps(result))


def draw(options: argparse.Namespace, random: np.random.Generator, count: int) -> list[Group]:
    """Prompts of the same length with n answers each, in the lengths of a profile's answers."""
    lengths = PROFILES[options.profile].answers[0]
    groups = []
    for _ in range(count):
        prompt, *answers = (
            random.integers(0, WORDS, n)
            for n in (options.prompt, *lengths.draw(random, options.answers))
        )
        groups.append(shorten(prompt, answers, options.max_length))
    return groups


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server's address."""
    command = [sys.executable, "-m", "reward.serve", str(folder), "--port", "0"]
    limits = ["--most-seconds", str(SECONDS), "--most-requests", "100000"]
    with subprocess.Popen([*command, *limits], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = re.search(r"http://\S+$", process.stderr.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


async def ask(
    url: str, turns: Sequence[Sequence[dict[str, Any]]]
) -> tuple[float, list[float], list[float]]:
    """The seconds of all turns, in each of which all rows are sent at once; those of each request;
    and the rewards, in the order of the rows.
    """
    async with httpx2.AsyncClient(limits=CONNECTIONS, timeout=SECONDS) as client:

        async def one(row: dict[str, Any]) -> tuple[float, list[float]]:
            start = time.perf_counter()
            answer = (await client.post(f"{url}/score", json=row)).raise_for_status().json()
            return time.perf_counter() - start, answer.get("scores") or [answer["score"]]

        start = time.perf_counter()
        answers = [each for rows in turns for each in await asyncio.gather(*map(one, rows))]
        took = time.perf_counter() - start
    return took, [each for each, _ in answers], [one for _, found in answers for one in found]


def measure(text: str, name: str) -> float:
    """The value of one of Prometheus's measures."""
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    of_pairs = [name for name, profile in PROFILES.items() if profile.pairs == 1]
    add("--profile", choices=of_pairs, default="dialogue", help="lengths of the answers")
    add("--prompt", type=int, default=300, help="tokens of each prompt")
    add("--max-length", type=int, default=2048, help="tokens; the default cuts next to nothing")
    add("--prompts", type=int, default=16, help="per round")
    add("--answers", type=int, default=8, help="n of best of n")
    add("--burst", type=int, default=1000, help="requests at once at the end")
    add("--layers", type=int, default=6)
    add("--width", type=int, default=384)
    add("--rounds", type=int, default=3)
    add("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main(read_options())
