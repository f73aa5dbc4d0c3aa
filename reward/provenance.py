"""Where evidence comes from: data, parameters and code, by their names and hashes."""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward.excerpts import visible
from reward.wording import grouped

MOST_FACTS = 100  # lines of a list
FACT_LENGTH = 200  # characters of one of them


@dataclass(frozen=True)
class Provenance:
    """Where the evidence comes from; each mapping is shown as a list of its leaves."""

    dataset: dict[str, Any]
    backbone: dict[str, Any]
    near_duplicates: dict[str, Any]  # what split noted
    parameters: dict[str, Any]
    hashes: dict[str, str]  # of every input of the stage, by path


def quality(provenance: Provenance) -> list[dict[str, Any]]:
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
    told = {"drop": "left out", "count": "kept", "ignore": "not looked for"}
    return [
        {
            "name": kind.replace("_", " "),
            "pairs": count,
            "share": count / dataset["candidates"],
            "action": told[action],
        }
        for kind, count, action in found
    ]


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The leaves of nested mappings as dotted name and value; a long list ends with a count."""
    leaves = list(_leaves(values))
    shown = [(_short(name), _short(value)) for name, value in leaves[:MOST_FACTS]]
    left = len(leaves) - len(shown)
    return [*shown, *([("…", f"{grouped(left)} more")] if left else [])]


def _short(text: str) -> str:
    return visible(text[:FACT_LENGTH])[:FACT_LENGTH]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value if isinstance(value, str) else json.dumps(value)


def dvc_hash(path: Path) -> str:
    """The MD5 by which dvc.lock names a file or a folder.

    A folder's is that of the JSON list of its files, each with its hash and its path below the
    folder, in the order of these paths.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(
                stream, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
    files = sorted(
        (file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file()
    )
    listing = json.dumps([{"md5": dvc_hash(file), "relpath": name} for name, file in files])
    return f"{hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()}.dir"


def loaded_code() -> list[Path]:
    """The files of the package `reward` that this process has imported, from the project's root."""
    names = sorted(name for name in sys.modules if name.startswith("reward."))
    return [Path(name.replace(".", "/")).with_suffix(".py") for name in names]
