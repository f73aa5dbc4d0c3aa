"""The benchmarks of params.yaml from a loopback hub to their scores, by the stages as processes."""

import json
import math
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from reward.pairs.preference import Message, Preference
from tests.support.benchmark_sets import (
    HELPSTEER3,
    JUDGEBENCH,
    REWARDBENCH,
    REWARDBENCH_2,
    RM_BENCH,
    Row,
    repositories,
)
from tests.support.loopback_hub import Hub, serve
from tests.support.runs import finish, prepare, read_params, write_params
from tests.support.whole_run import run

pytestmark = pytest.mark.slow


class Done(NamedTuple):
    folder: Path
    hub: Hub
    alone: set[str]
    """The repositories that were asked for while RewardBench alone was enabled."""

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def rewards(self, name: str) -> dict[str, tuple[float, float]]:
        """By pair_id, those of chosen and rejected."""
        table = pq.read_table(self.folder / f"data/scores/testsets/{name}.parquet").to_pylist()
        return {row["pair_id"]: (row["chosen_score"], row["rejected_score"]) for row in table}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = prepare(tmp_path_factory.mktemp("benchmarks"))
    (folder / "data/sources").mkdir()
    with serve(repositories()) as hub, pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(folder / "cache"),
        }.items():
            patch.setenv(key, value)
        params = read_params(folder)
        params["train"]["epochs"] = 1
        params["testsets"]["rewardbench"]["enabled"] = True
        testsets(folder, params)
        alone = {path.split("/resolve/")[0].split(" ")[-1] for path in hub.requests}
        for entry in params["testsets"].values():
            entry["enabled"] = True
        testsets(folder, params)
    finish(folder)
    finish(folder, stage="evaluate")
    return Done(folder, hub, alone)


def testsets(folder: Path, params: dict[str, Any]) -> None:
    write_params(folder, params)
    made = run(folder, "testsets")
    assert made.returncode == 0, made.stderr


testsets.__test__ = False  # type: ignore[attr-defined]


def test_what_is_not_enabled_is_not_asked_for(done: Done) -> None:
    assert {name for name in done.alone if "reward-bench" in name}
    assert not [name for name in done.alone if "reward-bench-2" in name or "RM-Bench" in name]
    assert not [name for name in done.alone if "JudgeBench" in name or "HelpSteer3" in name]


def test_every_row_is_read_and_its_commit_recorded(done: Done) -> None:
    records = done.json("data/testsets/records.json")
    found = {name: (one["rows"], one["pairs"], one["split"]) for name, one in records.items()}
    assert found == {
        "rewardbench": (len(REWARDBENCH), len(REWARDBENCH), "filtered"),
        # 5 subsets of 3 rows with 1 x 3 pairs, 3 rows with 1 x 4, and 2, 3 and 4 x 3.
        "rewardbench-2": (len(REWARDBENCH_2), 5 * 3 * 3 + 3 * 4 + 9 * 3, "test"),
        "rm-bench": (len(RM_BENCH), 9 * len(RM_BENCH), "train"),
        "judgebench": (len(JUDGEBENCH), len(JUDGEBENCH), "gpt"),
        "helpsteer3": (16, 12, "validation"),  # one in four is a tie
    }
    for record in records.values():
        repository = done.hub.repositories[f"datasets/{record['source']}"]
        assert record["commit"] == repository.commit


def matrix(done: Done, name: str, row: Row) -> list[list[tuple[float, float]]]:
    """The rewards of each chosen answer of a row beside each rejected one."""
    rewards, prompt = done.rewards(name), (Message("user", row["prompt"]),)
    ids = {
        (one, other): Preference(prompt, one, other, None, None).pair_id
        for one, other in product(listed(row["chosen"]), listed(row["rejected"]))
    }
    return [
        [rewards[ids[one, other]] for other in listed(row["rejected"])]
        for one in listed(row["chosen"])
    ]


def listed(answers: str | list[str]) -> list[str]:
    return [answers] if isinstance(answers, str) else answers


def right(pair: tuple[float, float]) -> float:
    return (pair[0] > pair[1]) + (pair[0] == pair[1]) / 2


def benchmark(done: Done, name: str) -> dict[str, Any]:
    return done.json("data/scores/details.json")["testsets"][name]["benchmark"]


def test_rewardbench(done: Done) -> None:
    of = {row["id"]: right(matrix(done, "rewardbench", row)[0][0]) for row in REWARDBENCH}
    expected = {
        "Chat": fmean([of[0], of[1]]),
        "Chat Hard": fmean([of[2], of[3]]),
        "Safety": fmean([of[4], of[5]]),
        "Reasoning": (fmean([of[6], of[7]]) + fmean([of[8], of[9], of[10]])) / 2,
    }
    found = benchmark(done, "rewardbench")
    assert {name: part["score"] for name, part in found["sections"].items()} == expected
    assert found["score"] == pytest.approx(fmean(expected.values()))


def test_rewardbench_2(done: Done) -> None:
    scores: dict[str, list[float]] = {}
    gaps: dict[str, tuple[float, float]] = {}
    for row in REWARDBENCH_2:
        pairs = matrix(done, "rewardbench-2", row)
        chosen = [line[0][0] for line in pairs]
        rejected = [pair[1] for pair in pairs[0]]
        if row["subset"] == "Ties":
            gaps[row["id"]] = min(chosen) - max(rejected), max(chosen) - min(chosen)
        else:
            top = [*chosen, *rejected].count(max(*chosen, *rejected))
            scores.setdefault(row["subset"], []).append((chosen[0] >= max(rejected)) / top)
    gap = [gaps[f"tied:{number}"][0] for number in range(3)]
    spread = [gaps[f"tied:{number}"][1] for number in range(3)]
    lower = [min(gap[number], gaps[f"ref:{number}"][0]) for number in range(3)]
    ties = (
        0.3 * fmean(gaps[f"ref:{number}"][0] > 0 for number in range(3))
        + 0.3 * fmean(one > 0 for one in gap)
        + 0.2 * fmean(one > other for one, other in zip(gap, spread, strict=True))
        + 0.2 * fmean(one > other for one, other in zip(lower, spread, strict=True))
        + 0.01 * fmean(math.tanh(one / other - 1) for one, other in zip(lower, spread, strict=True))
    )
    found = benchmark(done, "rewardbench-2")
    expected = {name: fmean(part) for name, part in scores.items()} | {"Ties": ties}
    assert {name: part["score"] for name, part in found["sections"].items()} == pytest.approx(
        expected
    )
    assert found["score"] == pytest.approx(fmean(expected.values()))


def test_rm_bench(done: Done) -> None:
    cells: dict[str, list[tuple[int, int, float]]] = {}
    for row in RM_BENCH:
        for i, line in enumerate(matrix(done, "rm-bench", row)):
            for j, pair in enumerate(line):
                domain = row["domain"].partition("-")[0]
                cells.setdefault(domain, []).append((i, j, right(pair)))
    found = benchmark(done, "rm-bench")
    expected = {domain: fmean(one[2] for one in all_of) for domain, all_of in cells.items()}
    assert {name: part["score"] for name, part in found["sections"].items()} == pytest.approx(
        expected
    )
    assert found["score"] == pytest.approx(fmean(expected.values()))
    hard = [fmean(r for i, j, r in all_of if i < j) for all_of in cells.values()]
    assert found["styles"]["hard"] == pytest.approx(fmean(hard))


def test_judgebench_by_its_labels(done: Done) -> None:
    of = []
    for row in JUDGEBENCH:
        sides = [row["response_A"], row["response_B"]]
        sides = sides[::-1] if row["label"] == "B>A" else sides
        answers = {"prompt": row["question"], "chosen": sides[0], "rejected": sides[1]}
        of.append(right(matrix(done, "judgebench", answers)[0][0]))
    found = benchmark(done, "judgebench")
    assert found["score"] == pytest.approx(fmean(of))
    assert found["sections"]["Knowledge"]["score"] == pytest.approx(fmean([of[0], of[1], of[5]]))


def test_metrics_have_each_subset_score_and_best_of_n(done: Done) -> None:
    metrics = done.json("metrics/evaluate.json")
    sets = metrics["testsets"]
    assert {name: {*found} for name, found in sets.items()} == {
        "helpsteer3": {"accuracy", "subsets"},
        "judgebench": {"accuracy", "subsets", "score"},
        "rewardbench": {"accuracy", "subsets", "score"},
        "rewardbench-2": {"accuracy", "subsets", "score", "best_of_n"},
        "rm-bench": {"accuracy", "subsets", "score", "best_of_n"},
    }
    assert {*sets["helpsteer3"]["subsets"]} == {row["domain"] for row in HELPSTEER3}
    assert {*sets["rewardbench"]["subsets"]} == {row["subset"] for row in REWARDBENCH}
    assert not {"datasets", "best_of_n"} & metrics.keys()  # one dataset, two answers a prompt
    details = done.json("data/scores/details.json")["testsets"]["rewardbench-2"]["best_of_n"]
    tied = sum((2 + number) / (5 + number) for number in range(3))
    assert details["prompts"] == len(REWARDBENCH_2)
    assert details["chance"] == pytest.approx((15 / 4 + 3 / 5 + tied) / 21)


def test_intervals_take_the_pairs_of_a_prompt_for_one_draw(done: Done) -> None:
    """Wilson's with the number of pairs that the design effect leaves, computed anew."""
    table = pq.read_table(done.folder / "data/scores/testsets/rm-bench.parquet").to_pylist()
    right = [float(row["chosen_score"] > row["rejected_score"]) for row in table]
    share, prompts = fmean(right), {row["prompt_id"] for row in table}
    assert len(table) == 9 * len(prompts)
    beyond = dict.fromkeys(prompts, 0.0)
    for one, row in zip(right, table, strict=True):
        beyond[row["prompt_id"]] += one - share
    variance = (
        sum(x * x for x in beyond.values()) / len(table) ** 2 * len(prompts) / (len(prompts) - 1)
    )
    effect = max(1, variance / (share * (1 - share) / (len(table) - 1)))
    ratio = stats.t.ppf(0.975, len(table) - 1) / stats.t.ppf(0.975, len(prompts) - 1)
    size = len(table) / effect
    expected = wilson(share, max(size * ratio**2, min(size, len(prompts))))
    independent = wilson(share, len(table))
    found = done.json("data/scores/details.json")["testsets"]["rm-bench"]
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(expected)
    assert found["accuracy_low"] < independent[0] < independent[1] < found["accuracy_high"]


def wilson(share: float, trials: float) -> tuple[float, float]:
    """The two shares s with (share - s)^2 = z^2 s (1 - s) / trials."""
    z = stats.norm.ppf(0.975) ** 2 / trials
    low, high = sorted(np.roots([1 + z, -2 * share - z, share**2]).real)
    return low, high
