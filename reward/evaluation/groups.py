"""Groups of runs that differ in their seed alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from reward.evaluation.revisions import experiments, read_settings
from reward.harness.errors import InputError

# How a run is made, which its results do not depend on.
LEFT_OUT = ("launcher", "process_timeout", "report_to")


@dataclass(frozen=True)
class Group:
    """The runs of one side of a comparison."""

    revisions: list[str]
    seeds: list[int]
    """Of the initial weights and the order of the pairs, one for each revision."""
    settings: dict[str, Any]
    """What all runs share of params.yaml, of code and of data."""


def revisions_of(name: str) -> list[str]:
    """Revisions with commas between them; or the experiments NAME-1, NAME-2, ...; or one."""
    if "," in name:
        return [part.strip() for part in name.split(",")]
    return experiments(name) or [name]


def read_group(revisions: list[str]) -> Group:
    """The runs of some revisions.

    Raises InputError where two of them have the same seed, or differ in anything else.
    """
    settings = [read_settings(rev) for rev in revisions]
    seeds = [_take_seed(rev, values) for rev, values in zip(revisions, settings, strict=True)]
    for rev, values in zip(revisions, settings, strict=True):
        for key, first, other in differences(settings[0], values):
            raise InputError(
                f"{revisions[0]} and {rev} differ in {key} ({_shown(first)} and {_shown(other)}): "
                f"the runs of one side may differ in train.seed alone."
            )
    for (one, seed), (other, again) in combinations(zip(revisions, seeds, strict=True), 2):
        if seed == again:
            raise InputError(
                f"{one} and {other} both have the seed {seed}, so that one is the other again: "
                f"name runs of different seeds, as -S 'train.seed=range(1,4)' makes them."
            )
    return Group(revisions, seeds, settings[0])


def _take_seed(rev: str, values: dict[str, Any]) -> int:
    """The seed of a run's training, taken out of its values; and what makes no difference."""
    try:
        own = values["train"].pop("seed")
        seed = values["seed"] if own is None else own
    except (KeyError, TypeError):
        raise InputError(
            f"params.yaml of {rev} has no seed and train.seed: take another revision."
        ) from None
    for key in LEFT_OUT:
        values.pop(key, None)
    return seed


def differences(
    a: dict[str, Any], b: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two nested mappings: dotted key, value in A, value in B.

    None stands for a key that is not there, as for an empty value.
    """
    for key in [*a, *(key for key in b if key not in a)]:
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}", one, other


def _shown(value: Any) -> str:
    return "empty" if value is None else str(value)


def describe_group(side: str, group: Group) -> str:
    """Which runs a side has, in a line."""
    runs = [f"{rev} (seed {seed})" for rev, seed in zip(group.revisions, group.seeds, strict=True)]
    return f"{side}: {', '.join(runs)}"


def describe_settings(a: Group, b: Group) -> str:
    """What the two sides differ in, in a line."""
    found = [
        f"{key} ({_shown(one)}, {_shown(other)})"
        for key, one, other in differences(a.settings, b.settings)
    ]
    return f"differ in: {', '.join(found) or 'no setting'}"
