"""What is measured of the parts of a set: its datasets or subsets, its prompts with several
answers, and a benchmark's own score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reward.evaluation.benchmarks import benchmark
from reward.evaluation.best_of_n import best_of_n, choose
from reward.evaluation.metrics import credit, estimate, headline
from reward.evaluation.origins import Origins
from reward.evaluation.scores import Array
from reward.evaluation.sections import SECTIONS
from reward.harness.tables import read_table
from reward.tokens.records import Token

MANY_PAIRS = 1.1  # for each prompt, from which on it is said that pairs share answers


@dataclass(frozen=True)
class Parts:
    """How the pairs of a set belong together."""

    compared: Array
    """int (pairs, 3): each pair's prompt and the places of its two answers there, as in
    reward.scoring.comparisons."""
    ratings: Array
    """float (pairs, 2), NaN where there are none."""
    datasets: Array | None = None
    """Of the validation pairs: texts (pairs,), the dataset that each is from."""
    origins: Origins | None = None
    """Of a test set with subsets."""


def read_parts(
    tokens: pa.Table, compared: Array, *, datasets: Path | None, origins: Path | None
) -> Parts:
    """The parts of a set of token records.

    compared: as in `Parts`. datasets: the file of its preferences (reward.pairs.preference.SCHEMA),
    for the validation pairs. origins: that of its origin records, for a test set; it need not
    exist, as a set without subsets has none.
    """
    ratings = [tokens[side].to_numpy() for side in (Token.CHOSEN_RATING, Token.REJECTED_RATING)]
    names = None
    if datasets:
        known = read_table(datasets, ["pair_id", "source"])
        by_id = dict(zip(known["pair_id"].to_pylist(), known["source"].to_pylist(), strict=True))
        names = np.array([by_id[pair_id] for pair_id in tokens[Token.PAIR_ID].to_pylist()])
    return Parts(
        compared,
        np.stack(ratings, axis=1),
        names,
        Origins.of(read_table(origins)) if origins and origins.exists() else None,
    )


def measure_parts(parts: Parts, rewards: Array, confidence: float) -> dict[str, Any]:
    """What is measured of the parts of a set, by these names, each only where there is such a part.

    datasets: for a mix, the accuracy on the pairs of each dataset. subsets: that on each subset.
    best_of_n: see reward.evaluation.best_of_n. benchmark: see reward.evaluation.benchmarks.
    prompts: their number, where there are MANY_PAIRS times as many pairs: pairs that share answers
    are no independent trials, as intervals and p values take them to be.

    rewards: (pairs, 2), chosen first.
    """
    right = credit(rewards[:, 0] - rewards[:, 1])
    found: dict[str, Any] = {}
    if parts.datasets is not None and len(np.unique(parts.datasets)) > 1:
        found["datasets"] = by_name(right, parts.datasets, confidence)
    if parts.origins is not None:
        found["subsets"] = by_name(right, parts.origins.subsets, confidence)
    prompts, places = parts.compared[:, 0], parts.compared[:, 1:]
    count = len(np.unique(prompts))
    if len(prompts) >= MANY_PAIRS * count:
        found["prompts"] = count
    chosen = best_of_n(choose(prompts, places, parts.ratings, rewards), confidence)
    if chosen is not None:
        found["best_of_n"] = chosen
    if parts.origins is not None and parts.origins.scoring in SECTIONS:
        found["benchmark"] = benchmark(parts.origins, rewards)
    return found


def by_name(right: Array, names: Array, confidence: float) -> dict[str, dict[str, Any]]:
    """The `estimate` of the credits of each name, sorted by name; both are of shape (pairs,)."""
    return {
        str(name): estimate(right[names == name], confidence) for name in np.unique(names).tolist()
    }


def headlines(details: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics/evaluate.json has of details.json: the figures by which runs are compared."""
    measured, testsets = details["measured"], details["testsets"].items()
    return {
        **headline(measured),
        **_headlines(measured),
        "testsets": {
            name: {"accuracy": found["accuracy"], **_headlines(found)} for name, found in testsets
        },
    }


def _headlines(measured: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("datasets", "subsets"):
        if kind in measured:
            parts = measured[kind].items()
            found[kind] = {name: {"accuracy": part["accuracy"]} for name, part in parts}
    if "best_of_n" in measured:
        found["best_of_n"] = {"accuracy": measured["best_of_n"]["accuracy"]}
    if "benchmark" in measured:
        found["score"] = measured["benchmark"]["score"]
    return found
