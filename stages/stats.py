"""stats: count the pairs and measure how long they are and what truncation does to them."""

from reward.harness.stage import run

from pathlib import Path
from typing import Any

import numpy as np

from reward.harness.files import read_json, write_json
from reward.harness.params import Params
from reward.harness.results import write_metrics, write_plot
from reward.harness.tables import read_batches, read_notes, read_schema
from reward.tokens.lengths import Counts, LengthCounts, measure_tokens
from reward.tokens.records import LeftOut, TokenSettings
from reward.tokens.settings import Stats

SIDES = ("train", "validation")
BATCH_ROWS = 4096


class StatsParams(Params):
    """What stats reads from params.yaml."""

    stats: Stats


def stats(
    params: StatsParams,
    raw: Path,
    splits: Path,
    tokens: Path,
    metrics: Path,
    details: Path,
    lengths: Path,
) -> None:
    """Count the pairs and measure how long they are and what truncation does to them.

    raw: folder that download wrote. splits: folder that split wrote. tokens: folder that tokenize
    wrote. metrics: JSON file for the headline figures. details: JSON file for all figures. lengths:
    CSV file for the histograms of lengths.

    Lengths are counted batch by batch, so memory does not grow with the number of pairs.
    """
    counts = LengthCounts(SIDES)
    for side in SIDES:
        file = tokens / f"{side}.parquet"
        max_length = TokenSettings.of(read_schema(file)[0]).max_length
        for batch in read_batches(file, BATCH_ROWS):
            counts.add(side, batch, max_length)
    source = read_json(raw / "source.json")
    near = read_json(splits / "near_duplicates.json")
    left = LeftOut.total(
        LeftOut.of(
            read_notes(tokens / f"{side}.parquet"),
            read_schema(splits / f"{side}.parquet")[1] - kept,
        )
        for side, kept in counts.pairs.items()
    )
    figures = {
        "pairs": count_pairs(source, near["dropped"], left.dropped(), counts.pairs),
        "kept_with": source["kept_with"] | left.kept_with,
        "near_duplicates": near,
        "tokens": measure_tokens(counts.lengths, counts.kept, max_length),
        "share_truncated": counts.truncated / counts.total,
        "share_identical_if_cut_on_the_right": counts.identical / counts.total,
        "share_lost_if_dropped_when_too_long": counts.lost / counts.total,
        "ratings": measure_ratings(counts),
    }
    write_json(details, figures)
    write_metrics(metrics, headline(figures))
    write_histograms(params.stats, counts.lengths, lengths)


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """The few figures by which runs are compared (metrics/stats.json): pairs, the published
    statistics of the prompt cut at max_length, tokens read, truncation and rating gap.
    """
    tokens = figures["tokens"]
    published = ("mean", "share_under_64", "share_64_to_127", "share_over_127")
    return {
        "pairs": figures["pairs"],
        "tokens": {
            "prompt_cut": {name: tokens["prompt_cut"][name] for name in published},
            "read": {"mean": tokens["read"]["mean"]},
        },
        "share_truncated": figures["share_truncated"],
        "ratings": {key: gap for key, gap in figures["ratings"].items() if key == "mean_gap"},
    }


def count_pairs(
    source: dict[str, Any], near_duplicates: int, later: dict[str, int], pairs: dict[str, int]
) -> dict[str, Any]:
    """Pairs that were read, pairs left on each side, and what became of the rest, by reason.

    source: the record that download leaves in source.json; near_duplicates: pairs that split
    dropped; later: those that tokenize left out, by reason.
    """
    near = {"near_duplicate": near_duplicates} if near_duplicates else {}
    dropped = source["dropped"] | near | later
    return {"total": source["candidates"], "kept": sum(pairs.values()), **pairs, "dropped": dropped}


def measure_ratings(counts: LengthCounts) -> dict[str, float | int]:
    """How many pairs have two ratings, and by how much chosen is rated better on average."""
    gap = {"mean_gap": counts.gaps / counts.rated} if counts.rated else {}
    return {"pairs": counts.rated, **gap}


def write_histograms(params: Stats, lengths: dict[str, Counts], path: Path) -> None:
    """One row per part and bar: where it begins and ends, in tokens, and its share of the pairs.

    Every part has the same bars, up to the longest text of all.
    """
    longest = max(map(len, lengths.values())) - 1
    starts = range(0, min(longest, params.last_bin) + 1, params.bin_width)
    rows = []
    for part, counts in lengths.items():
        bars = np.minimum(np.arange(len(counts)) // params.bin_width, len(starts) - 1)
        shares = np.bincount(bars, weights=counts, minlength=len(starts)) / counts.sum()
        rows += [
            {"part": part, "tokens": start, "tokens_end": start + params.bin_width, "share": share}
            for start, share in zip(starts, shares.tolist(), strict=True)
        ]
    write_plot(path, ("part", "tokens", "tokens_end", "share"), rows)


if __name__ == "__main__":
    run(stats, StatsParams)
