"""Small results that people read and compare: metrics (JSON) and tables of plots (CSV).

Their numbers have five significant digits, so that the last digits of a sum do not look like a
difference. What is computed with further keeps all its digits elsewhere.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reward.harness.files import replacing, write_json

DIGITS = 5


def rounded(value: Any) -> Any:
    """A number to DIGITS significant digits; the same in the values of mappings and in lists.

    Whole numbers, texts and None stay as they are.
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return value


def write_metrics(path: Path, values: Mapping[str, Any]) -> None:
    """Write metrics as JSON, rounded; a NaN or an infinity raises ValueError."""
    write_json(path, rounded(values))


def write_plot(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a plot's table as CSV, rounded; None becomes an empty cell."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(columns), lineterminator="\n")
        table.writeheader()
        table.writerows(map(rounded, rows))
