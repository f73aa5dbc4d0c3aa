"""stats: count the pairs and measure how long they are and what truncation does to them."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from reward.stage import Params, run, whole, write_json

SIDES = ("train", "validation")
PARTS = ("prompt", "chosen", "rejected")
BATCH_ROWS = 4096

Counts = NDArray[np.int64]  # how many texts are 0, 1, 2, ... tokens long


class Stats(Params):
    """The section `stats` of params.yaml."""

    bin_width: int = Field(gt=0)
    """Tokens per bar of the length histogram."""
    last_bin: int = Field(gt=0)
    """Tokens from which on all lengths are counted in one last bar."""


class StatsParams(Params):
    """What stats reads from params.yaml."""

    stats: Stats


def stats(
    params: StatsParams, raw: Path, splits: Path, tokens: Path, metrics: Path, lengths: Path
) -> None:
    """Write the figures to `metrics` (JSON) and the length histograms to `lengths` (CSV).

    Lengths are counted batch by batch, so memory does not grow with the number of pairs.
    """
    tally = Tally()
    for side in SIDES:
        # pre_buffer would keep all that was read in memory.
        with pq.ParquetFile(tokens / f"{side}.parquet", pre_buffer=False) as file:
            max_length = int(file.schema_arrow.metadata[b"max_length"])
            for batch in file.iter_batches(BATCH_ROWS):
                tally.add(side, batch, max_length)
    source = json.loads((raw / "source.json").read_text(encoding="utf-8"))
    near = json.loads((splits / "near_duplicates.json").read_text(encoding="utf-8"))
    split = sum(pq.read_metadata(splits / f"{side}.parquet").num_rows for side in SIDES)
    write_json(
        metrics,
        {
            "pairs": count_pairs(source, near["dropped"], split, tally.pairs),
            "kept_with": source["kept_with"],
            "near_duplicates": near,
            "tokens": measure_tokens(tally.lengths, tally.kept, max_length),
            "share_truncated": tally.truncated / tally.total,
            "share_identical_if_cut_on_the_right": tally.identical / tally.total,
            "share_lost_if_dropped_when_too_long": tally.lost / tally.total,
            "ratings": measure_ratings(tally),
        },
    )
    write_histograms(params.stats, tally.lengths, lengths)


class Tally:
    """Running counts over token records."""

    def __init__(self) -> None:
        self.pairs = dict.fromkeys(SIDES, 0)
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
        """Count a batch of the records of stages.tokenize."""
        self.pairs[side] += len(batch)
        numbers = {part: batch[f"{part}_tokens"].to_numpy() for part in PARTS}
        for part, values in numbers.items():
            self.lengths[part] = add_counts(self.lengths[part], np.bincount(values))
        before = numbers["prompt"] + np.stack([numbers["chosen"], numbers["rejected"]])
        after = np.stack(
            [pc.list_value_length(batch[f"{part}_ids"]).to_numpy() for part in PARTS[1:]]
        )
        self.kept = add_counts(self.kept, np.bincount(after.ravel()))
        self.truncated += int((after < before).any(axis=0).sum())
        self.lost += int((before > max_length).any(axis=0).sum())
        # Two texts are the same up to max_length if they share as many tokens.
        self.identical += int((batch["shared_tokens"].to_numpy() >= max_length).sum())
        gaps = pc.drop_null(pc.subtract(batch["chosen_rating"], batch["rejected_rating"]))
        self.rated += len(gaps)
        self.gaps += math.fsum(gaps.to_numpy())


def add_counts(first: Counts, second: Counts) -> Counts:
    """The sum of two counts of different lengths."""
    longer, shorter = sorted((first, second), key=len, reverse=True)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def count_pairs(
    source: dict[str, Any], near_duplicates: int, split: int, pairs: dict[str, int]
) -> dict[str, Any]:
    """Pairs looked at, pairs left on each side, and what became of the rest, by reason.

    source: the record that download leaves in source.json; near_duplicates: pairs that split
    dropped; split: pairs that it wrote.
    """
    later = {"near_duplicate": near_duplicates, "same_tokens": split - sum(pairs.values())}
    dropped = source["dropped"] | {reason: count for reason, count in later.items() if count}
    return {"total": source["candidates"], "kept": sum(pairs.values()), **pairs, "dropped": dropped}


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


def measure_ratings(tally: Tally) -> dict[str, float | int]:
    """How many pairs have two ratings, and by how much chosen is rated better on average."""
    gap = {"mean_gap": tally.gaps / tally.rated} if tally.rated else {}
    return {"pairs": tally.rated, **gap}


def write_histograms(params: Stats, lengths: dict[str, Counts], path: Path) -> None:
    """One row per part and bar: where it begins and ends, in tokens, and its share of the pairs.

    Every part has the same bars, up to the longest text of all.
    """
    longest = max(map(len, lengths.values())) - 1
    starts = range(0, min(longest, params.last_bin) + 1, params.bin_width)
    with whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["part", "tokens", "tokens_end", "share"])
        for part, counts in lengths.items():
            bars = np.minimum(np.arange(len(counts)) // params.bin_width, len(starts) - 1)
            shares = np.bincount(bars, weights=counts, minlength=len(starts)) / counts.sum()
            for start, share in zip(starts, shares.tolist(), strict=True):
                rows.writerow([part, start, start + params.bin_width, share])


if __name__ == "__main__":
    run(stats, StatsParams)
