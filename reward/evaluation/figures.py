"""The tables behind the plots of an evaluation: one row per bar, point or band.

Each function returns what its CSV under metrics/ holds; the template of the same name under
.dvc/plots draws it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from reward.evaluation.metrics import calibration_bins, credit, estimate, gap_class, preference
from reward.evaluation.scores import Array, Scored

MOST_BARS = 40  # of the margin histogram
CUT_OFFS = 20  # of the confidence
LENGTH_BINS = 10  # with equal numbers of responses

_ESTIMATE = {
    "pairs": pa.int64(),
    "accuracy": pa.float64(),
    "accuracy_low": pa.float64(),
    "accuracy_high": pa.float64(),
}
_BIN = {"bin_start": pa.float64(), "bin_end": pa.float64()}


def reliability(scored: Scored, bins: int, confidence: float) -> pa.Table:
    """One row per bin of `calibration_error` that holds a pair.

    Columns: bin_start, bin_end, confidence (mean of the bin), pairs, accuracy, accuracy_low,
    accuracy_high (at level `confidence`).
    """
    margin = scored.margin
    edges = np.linspace(0.5, 1, bins + 1).tolist()
    rows = [
        {
            "bin_start": start,
            "bin_end": end,
            "confidence": float(preference(margin[members]).mean()),
            **estimate(credit(margin[members]), scored.prompt[members], confidence),
        }
        for start, end, members in zip(
            edges[:-1], edges[1:], calibration_bins(margin, bins), strict=True
        )
        if len(members)
    ]
    return _table(rows, _BIN | {"confidence": pa.float64()} | _ESTIMATE)


def margins(margin: Array) -> pa.Table:
    """Histogram of the margins, closed on the left, with 0 on an edge: wrong pairs are left of it.

    The width of the bars is the smallest of 1, 2 or 5 times a power of ten that needs no more than
    MOST_BARS bars. Columns: bin_start, bin_end, pairs, density (share of the pairs per unit of
    margin, so that two revisions with different bars can be compared).
    """
    width = _round_width(float(np.ptp(margin)) / MOST_BARS)
    number = np.floor(margin / width).astype(int)
    if np.ptp(number) >= MOST_BARS:  # where neither end is on an edge, there is one bar more
        width = _round_width(math.nextafter(width, math.inf))
        number = np.floor(margin / width).astype(int)
    first = int(number.min())
    rows = [
        {
            "bin_start": (first + index) * width,
            "bin_end": (first + index + 1) * width,
            "pairs": count,
            "density": count / len(margin) / width,
        }
        for index, count in enumerate(np.bincount(number - first).tolist())
    ]
    return _table(rows, _BIN | {"pairs": pa.int64(), "density": pa.float64()})


def _round_width(least: float) -> float:
    if least == 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def accuracy_by_gap(
    scored: Scored, rating_gaps: tuple[float, float], confidence: float
) -> pa.Table:
    """One row per class of rating gap that holds a pair; none where the pairs have no ratings.

    Columns: gap (its name and bounds), pairs, accuracy, accuracy_low, accuracy_high.
    """
    small, large = rating_gaps
    labels = (f"small (≤ {small:g})", f"medium (≤ {large:g})", f"large (> {large:g})")
    right, classes = credit(scored.margin), gap_class(scored, rating_gaps)
    members_of_gaps = [classes == index for index in range(len(labels))]
    rows = [
        {"gap": label, **estimate(right[members], scored.prompt[members], confidence)}
        for label, members in zip(labels, members_of_gaps, strict=True)
        if members.any()
    ]
    return _table(rows, {"gap": pa.string()} | _ESTIMATE)


def accuracy_by_confidence(scored: Scored, confidence: float) -> pa.Table:
    """Accuracy on the pairs of which the model is surest: one row for each cut-off, the highest
    first, down to all pairs.

    The accuracy is one less the selective risk at a coverage (El-Yaniv and Wiener 2010, JMLR 11,
    p. 1605-1641, section 2). Cut-offs are chosen so that CUT_OFFS equal shares of the pairs are
    reached, and pairs of one confidence stay together, so there may be fewer. Columns: share (of
    the pairs, those that are kept), cut_off (the lowest confidence among them, see `preference`),
    pairs, accuracy, accuracy_low, accuracy_high.
    """
    sure, right = preference(scored.margin), credit(scored.margin)
    falling = np.sort(sure)[::-1]
    ends = [-(-len(sure) * step // CUT_OFFS) - 1 for step in range(1, CUT_OFFS + 1)]
    rows = [
        {
            "share": float((sure >= cut_off).mean()),
            "cut_off": float(cut_off),
            **estimate(right[sure >= cut_off], scored.prompt[sure >= cut_off], confidence),
        }
        for cut_off in np.unique(falling[ends])[::-1]
    ]
    return _table(rows, {"share": pa.float64(), "cut_off": pa.float64()} | _ESTIMATE)


def groups(measured: Mapping[str, Any]) -> pa.Table:
    """One row per group of pairs of `measure` that holds a pair.

    Columns: kind (what the pairs are grouped by), group, pairs, accuracy, accuracy_low,
    accuracy_high.
    """
    found = {
        "rating gap": measured["rating_gap"],
        "longer response": measured["response_length"],
        "lengths": {"similar": measured["similar_length"]},
        "dataset": measured.get("datasets", {}),  # of a mix
    }
    rows = [
        {"kind": kind, "group": name, **part}
        for kind, parts in found.items()
        for name, part in parts.items()
        if part["pairs"]
    ]
    return _table(rows, {"kind": pa.string(), "group": pa.string()} | _ESTIMATE)


def reward_length(scored: Scored) -> pa.Table:
    """Mean reward by response length, in LENGTH_BINS bins of nearly equal numbers of responses.

    Responses of one length stay in one bin, so there may be fewer bins. Columns: tokens (mean of
    the bin), bin_start, bin_end (shortest and longest), reward (mean), reward_std, responses.
    """
    tokens, rewards = scored.tokens, scored.rewards
    edges = np.unique(np.quantile(tokens, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    number = np.searchsorted(edges, tokens, side="left")
    rows = [
        {
            "tokens": float(tokens[number == index].mean()),
            "bin_start": int(tokens[number == index].min()),
            "bin_end": int(tokens[number == index].max()),
            "reward": float(rewards[number == index].mean()),
            "reward_std": float(rewards[number == index].std()),
            "responses": int((number == index).sum()),
        }
        for index in np.unique(number)
    ]
    columns = {
        "tokens": pa.float64(),
        "bin_start": pa.int64(),
        "bin_end": pa.int64(),
        "reward": pa.float64(),
        "reward_std": pa.float64(),
        "responses": pa.int64(),
    }
    return _table(rows, columns)


def _table(rows: list[dict[str, Any]], columns: dict[str, pa.DataType]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema(columns))
