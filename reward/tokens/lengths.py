"""How long texts are: exact counts over token records, taken batch by batch, and what they say."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reward.tokens.records import Token

PARTS = {  # of a pair, and the columns with their lengths
    "prompt": Token.PROMPT_TOKENS,
    "chosen": Token.CHOSEN_TOKENS,
    "rejected": Token.REJECTED_TOKENS,
}

Counts = NDArray[np.int64]  # how many texts are 0, 1, 2, ... tokens long


class LengthCounts:
    """Running counts over token records."""

    def __init__(self, sides: Iterable[str]) -> None:
        self.pairs = dict.fromkeys(sides, 0)
        self.lengths = {part: np.zeros(1, dtype=np.int64) for part in PARTS}
        self.kept = np.zeros(1, dtype=np.int64)
        self.truncated = 0
        self.identical = 0
        self.lost = 0
        self.rated = 0
        self.gaps = 0.0  # sum of chosen minus rejected rating

    @property
    def total(self) -> int:
        return sum(self.pairs.values())

    def add(self, side: str, batch: pa.RecordBatch, max_length: int) -> None:
        """Count a batch of token records (reward.tokens.records)."""
        self.pairs[side] += len(batch)
        numbers = {part: batch[column].to_numpy() for part, column in PARTS.items()}
        for part, values in numbers.items():
            self.lengths[part] = add_counts(self.lengths[part], np.bincount(values))
        before = numbers["prompt"] + np.stack([numbers["chosen"], numbers["rejected"]])
        ids = (Token.CHOSEN_IDS, Token.REJECTED_IDS)
        after = np.stack([pc.list_value_length(batch[column]).to_numpy() for column in ids])
        self.kept = add_counts(self.kept, np.bincount(after.ravel()))
        self.truncated += int((after < before).any(axis=0).sum())
        self.lost += int((before > max_length).any(axis=0).sum())
        # Two texts are the same up to max_length if they share as many tokens.
        self.identical += int((batch[Token.SHARED_TOKENS].to_numpy() >= max_length).sum())
        ratings = batch[Token.CHOSEN_RATING], batch[Token.REJECTED_RATING]
        gaps = pc.drop_null(pc.subtract(*ratings))
        self.rated += len(gaps)
        self.gaps += math.fsum(gaps.to_numpy())


def add_counts(first: Counts, second: Counts) -> Counts:
    """The sum of two counts of different lengths."""
    longer, shorter = sorted((first, second), key=len, reverse=True)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def measure_tokens(lengths: dict[str, Counts], kept: Counts, max_length: int) -> dict[str, Any]:
    """Length statistics: of each part before truncation, of the prompt cut at max_length, and of
    what the model reads, prompt and response together after truncation (both sides of each pair).

    A prompt of more than max_length tokens counted as max_length is how the lengths of preference
    data are often published.
    """
    prompt = lengths["prompt"]
    cut = np.append(prompt[:max_length], prompt[max_length:].sum())
    return {part: measure(counts) for part, counts in lengths.items()} | {
        "prompt_cut": measure(cut),
        "read": measure(kept),
    }


def measure(counts: Counts) -> dict[str, float | int]:
    """Mean, quantiles and shares of lengths, exact; in tokens."""
    total = int(counts.sum())
    return {
        "mean": int(counts @ np.arange(len(counts))) / total,
        "median": quantile(counts, 0.5),
        "p95": quantile(counts, 0.95),
        "max": int(np.flatnonzero(counts)[-1]),
        "share_under_64": int(counts[:64].sum()) / total,
        "share_64_to_127": int(counts[64:128].sum()) / total,
        "share_over_127": int(counts[128:].sum()) / total,
    }


def quantile(counts: Counts, share: float) -> float:
    """Quantile by linear interpolation: numpy.quantile of the single lengths, to six decimals."""
    ends = np.cumsum(counts)
    position = share * (int(ends[-1]) - 1)
    below, above = np.searchsorted(ends, [math.floor(position), math.ceil(position)], side="right")
    return round(float(below + (above - below) * (position - math.floor(position))), 6)
