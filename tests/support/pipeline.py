"""What dvc.yaml says of its stages."""

from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
PIPELINE: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]


def listed(name: str, kind: str) -> dict[str, dict[str, Any]]:
    """The entries under deps, outs, metrics or plots of a stage: path and settings."""
    entries: dict[str, dict[str, Any]] = {}
    for entry in PIPELINE[name].get(kind, []):
        entries |= entry if isinstance(entry, dict) else {entry: {}}
    return entries


def written(name: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in listed(name, kind)]


def options(name: str) -> list[str]:
    """The words that DVC gives to a stage: its paths."""
    return PIPELINE[name]["cmd"].partition(f"-m stages.{name}")[2].split()
