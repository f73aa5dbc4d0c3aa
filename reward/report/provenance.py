"""Where evidence comes from: data, parameters and code, by their names and hashes."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.report.excerpts import visible
from reward.report.numbers import thousands

MOST_FACTS = 100  # lines of a list
FACT_LENGTH = 200  # characters of one of them


@dataclass(frozen=True)
class Provenance:
    """Where the evidence comes from; each mapping is shown as a list of its leaves."""

    dataset: dict[str, Any]
    backbone: dict[str, Any]
    near_duplicates: dict[str, Any]  # what split noted
    machine: dict[str, Any]  # that trained the model
    parameters: dict[str, Any]
    hashes: dict[str, str]  # of every input of the stage, by path


def quality_table(provenance: Provenance) -> list[dict[str, Any]]:
    """What was looked for in the data: kind of problem, number of pairs, and what became of them.

    First what params.yaml has a switch for, then all else that gave no pair, then near duplicates.
    """
    dataset, near, parameters = (
        provenance.dataset,
        provenance.near_duplicates,
        provenance.parameters,
    )
    switches = parameters["download"]["quality"]
    dropped = dataset["dropped"]
    # Formats leave out some kinds by themselves, e.g. ties of a scored list, whatever the switch.
    found = [
        (
            kind,
            dropped.get(kind, 0) + dataset["kept_with"].get(kind, 0),
            "drop" if dropped.get(kind) else action,
        )
        for kind, action in switches.items()
    ]
    found += [(kind, count, "drop") for kind, count in dropped.items() if kind not in switches]
    found.append(
        (
            "training prompt nearly one of validation",
            near.get("train_pairs", 0),
            parameters["split"]["near_duplicates"],
        )
    )
    done = {"drop": "left out", "count": "kept", "ignore": "not looked for"}
    return [
        {
            "name": kind.replace("_", " "),
            "pairs": count,
            "share": count / dataset["candidates"],
            "action": done[action],
        }
        for kind, count, action in found
    ]


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The leaves of nested mappings as dotted name and value; a long list ends with a count."""
    found = list(leaves(values))
    shown = [(_short(name), _short(_text(value))) for name, value in found[:MOST_FACTS]]
    left = len(found) - len(shown)
    return [*shown, *([("…", f"{thousands(left)} more")] if left else [])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(text: str) -> str:
    return visible(text[:FACT_LENGTH])[:FACT_LENGTH]


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def loaded_code() -> list[Path]:
    """The files of the package `reward` that this process has imported, from the project's root."""
    project = Path(__file__).parents[2]
    modules = [module for name, module in sys.modules.items() if f"{name}.".startswith("reward.")]
    files = [Path(module.__file__) for module in modules if module.__file__]
    return sorted(file.relative_to(project) for file in files)
