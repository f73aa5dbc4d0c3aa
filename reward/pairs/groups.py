"""Which pairs share answers: K answers to one prompt, compared with one another.

An answer is the same in two pairs where prompt, text and rating are. An answer without a rating, or
with another one, was judged by itself: such a pair stays alone.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reward.harness.linked import Side, linked
from reward.harness.tables import read_batches
from reward.pairs.preference import BATCH_ROWS


def first_of_group(pairs: Path, prompts: NDArray[np.uint64]) -> dict[int, str]:
    """By the row of each pair that is linked to one with a lower pair_id: the lowest of its group.

    pairs: a file of reward.pairs.preference.SCHEMA. prompts: a number for each pair, the same for
    the same prompt; it may be the same for others.
    """
    _, names, counts = np.unique(prompts, return_inverse=True, return_counts=True)
    repeated = counts[names] > 1
    if not repeated.any():
        return {}
    ids: list[str] = []
    sides: list[tuple[Side, Side]] = []
    start = 0
    for batch in read_batches(pairs, BATCH_ROWS):
        rows = batch.filter(pa.array(repeated[start : start + len(batch)])).to_pylist()
        start += len(batch)
        ids += [row["pair_id"] for row in rows]
        sides += [(_answer(row, "chosen"), _answer(row, "rejected")) for row in rows]
    groups = linked(sides)
    lowest: dict[int, str] = {}
    for group, pair_id in zip(groups, ids, strict=True):
        lowest[group] = min(pair_id, lowest.get(group, pair_id))
    placed = zip(np.flatnonzero(repeated).tolist(), groups, ids, strict=True)
    return {row: lowest[group] for row, group, pair_id in placed if lowest[group] < pair_id}


def _answer(row: dict[str, Any], side: str) -> Side:
    if row[f"{side}_rating"] is None:
        return None
    content = json.dumps([row["prompt"], row[side], row[f"{side}_rating"]], ensure_ascii=False)
    return blake2b(content.encode(), digest_size=8).digest()
