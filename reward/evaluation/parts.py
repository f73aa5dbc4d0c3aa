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
from reward.evaluation.metrics import credit, estimate, group, headline
from reward.evaluation.origins import Origins
from reward.evaluation.scores import Array, Scored
from reward.evaluation.sections import SECTIONS
from reward.harness.tables import read_table
from reward.tokens.records import Token


@dataclass(frozen=True)
class Parts:
    """How the pairs of a set belong together."""

    compared: Array
    """int (pairs, 3): each pair's group of answers that were compared with one another, and the
    places of its two answers there, as in reward.scoring.comparisons."""
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


def measure_parts(parts: Parts, scored: Scored, confidence: float) -> dict[str, Any]:
    """What is measured of the parts of a set, by these names, each only where there is such a part.

    datasets: for a mix, the `group` of each dataset's pairs. subsets: the `estimate` of each
    subset's. best_of_n: see reward.evaluation.best_of_n. benchmark: see
    reward.evaluation.benchmarks.
    """
    right, prompt = credit(scored.margin), scored.prompt
    rewards = np.stack([scored.chosen, scored.rejected], axis=1)
    found: dict[str, Any] = {}
    if parts.datasets is not None and len(np.unique(parts.datasets)) > 1:
        found["datasets"] = {
            name: group(right, prompt, inside, confidence)
            for name, inside in by_name(parts.datasets).items()
        }
    if parts.origins is not None:
        found["subsets"] = {
            name: estimate(right[inside], prompt[inside], confidence)
            for name, inside in by_name(parts.origins.subsets).items()
        }
    groups, places = parts.compared[:, 0], parts.compared[:, 1:]
    same = prompt[np.unique(groups, return_index=True)[1]]
    chosen = best_of_n(choose(groups, places, parts.ratings, rewards), same, confidence)
    if chosen is not None:
        found["best_of_n"] = chosen
    if parts.origins is not None and parts.origins.scoring in SECTIONS:
        found["benchmark"] = benchmark(parts.origins, rewards)
    return found


def by_name(names: Array) -> dict[str, Array]:
    """Which pairs have each name, bool (pairs,), sorted by name; names: texts (pairs,)."""
    return {str(name): names == name for name in np.unique(names).tolist()}


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
