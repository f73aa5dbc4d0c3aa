"""Where the pairs of a test set come from: their rows, places in them, and subsets.

The records of data/testsets/origins: one per token record of the set of the same name, in its
order. A set without subsets has none.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import pyarrow as pa

from reward.evaluation.scores import Array


class Origin(StrEnum):
    """The columns of an origin record, which is one pair."""

    PAIR_ID = "pair_id"
    ROW = "row"
    """The number of the row in the source."""
    CHOSEN_PLACE = "chosen_place"
    """Which of the row's chosen answers it is, from 0."""
    REJECTED_PLACE = "rejected_place"
    SUBSET = "subset"
    ITEM = "item"
    """What the column `item` has; empty where the entry names none."""


ORIGINS = pa.schema(
    [
        (Origin.PAIR_ID, pa.string()),
        (Origin.ROW, pa.int64()),
        (Origin.CHOSEN_PLACE, pa.int32()),
        (Origin.REJECTED_PLACE, pa.int32()),
        (Origin.SUBSET, pa.string()),
        (Origin.ITEM, pa.string()),
    ]
)
SCORING = "scoring"
"""The key of the metadata that has the rule by which the set is scored."""


@dataclass(frozen=True)
class Origins:
    """The columns of origin records as arrays, and the rule of their set."""

    rows: Array
    """int64 (pairs,)."""
    places: Array
    """int64 (pairs, 2): those of chosen and rejected."""
    subsets: Array
    """Texts, (pairs,)."""
    items: Array
    scoring: str

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """table: of ORIGINS, with SCORING in its metadata."""
        places = [table[name].to_numpy() for name in (Origin.CHOSEN_PLACE, Origin.REJECTED_PLACE)]
        return cls(
            rows=table[Origin.ROW].to_numpy(),
            places=np.stack(places, axis=1).astype(np.int64),
            subsets=table[Origin.SUBSET].to_numpy().astype(str),
            items=table[Origin.ITEM].to_numpy().astype(str),
            scoring=(table.schema.metadata or {})[SCORING.encode()].decode(),
        )
