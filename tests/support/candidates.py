"""Rows read as a format in one step, and what they gave sorted into pairs and reasons."""

from collections import Counter
from pathlib import Path
from typing import Any

from reward.pairs.formats import Reader
from reward.pairs.preference import Preference, UnusableError
from reward.pairs.reading import Candidate
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset

FIXTURES = Path(__file__).with_name("fixtures")


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def read(folder: Path, rows: list[Row | str], size: int = 0, **entry: Any) -> list[Candidate]:
    """What rows give that are numbered from 1; `folder` is for scratch, `size` in bytes."""
    reader = Reader(Dataset(source="x.jsonl", **entry), [[*enumerate(rows, 1)]])
    return list(reader.candidates(folder, size))


def pairs(candidates: list[Candidate]) -> list[Preference]:
    return [found.outcome for found in candidates if isinstance(found.outcome, Preference)]


def reasons(candidates: list[Candidate]) -> Counter[str]:
    return Counter(
        found.outcome.reason for found in candidates if isinstance(found.outcome, UnusableError)
    )
