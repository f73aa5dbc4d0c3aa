"""A few numbers for every pair; by them, pairs that repeat or contradict one another are found."""

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from reward.pairs.preference import Preference
from reward.pairs.quality import KINDS


class Ledger:
    """A few numbers for every pair, in reading order: about 80 bytes a pair at most."""

    def __init__(self) -> None:
        self._keys = array("Q")
        self._ranks = array("Q")
        self._flipped = array("B")
        self._sources = array("H")
        self._rows = array("Q")
        self._places = array("H")
        self._problems = array("H")

    def add(self, pair: Preference, source: int, row: int, problems: Iterable[str] = ()) -> None:
        """Enter a pair of the dataset number `source`, read from row number `row`.

        problems: what the pair has by itself (reward.pairs.quality.judge).
        """
        flipped = pair.rejected < pair.chosen
        content = (pair.swapped() if flipped else pair).pair_id
        ratings = repr((pair.chosen_rating, pair.rejected_rating))
        self._keys.append(int(content[:16], 16))
        self._ranks.append(int.from_bytes(blake2b(ratings.encode(), digest_size=8).digest()))
        self._flipped.append(flipped)
        self._sources.append(source)
        self._rows.append(row)
        self._places.extend(pair.places)
        self._problems.append(sum(1 << KINDS.index(problem) for problem in problems))

    @property
    def sources(self) -> NDArray[np.uint16]:
        """The dataset of each pair."""
        return np.frombuffer(self._sources, dtype=np.uint16)

    @property
    def rows(self) -> NDArray[np.uint64]:
        """The row of each pair."""
        return np.frombuffer(self._rows, dtype=np.uint64)

    @property
    def places(self) -> NDArray[np.uint16]:
        """The places of each pair's answers (reward.pairs.preference), shape (pairs, 2)."""
        return np.frombuffer(self._places, dtype=np.uint16).reshape(-1, 2)

    def problems(self) -> Iterator[tuple[int, list[str]]]:
        """The place of each pair that was entered with problems, from 0, and these."""
        problems = np.frombuffer(self._problems, dtype=np.uint16)
        for place in np.flatnonzero(problems).tolist():
            bits = int(problems[place])
            yield place, [kind for bit, kind in enumerate(KINDS) if bits >> bit & 1]

    def contradictions(self) -> NDArray[np.bool_]:
        """The pairs whose two responses another pair has with the other one chosen."""
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        flipped = np.frombuffer(self._flipped, dtype=np.bool_)
        both = np.intersect1d(keys[flipped], keys[~flipped])
        return np.isin(keys, both)

    def duplicates(self) -> NDArray[np.bool_]:
        """All but one of the pairs with the same content.

        The one that stays comes from the first dataset that has it, and of several with different
        ratings it is always the same one, whatever the order of the rows.
        """
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        flipped = np.frombuffer(self._flipped, dtype=np.uint8)
        ranks = np.frombuffer(self._ranks, dtype=np.uint64)
        order = np.lexsort((ranks, self.sources, flipped, keys))
        same = (keys[order][1:] == keys[order][:-1]) & (flipped[order][1:] == flipped[order][:-1])
        found = np.zeros(len(keys), dtype=np.bool_)
        found[order[1:][same]] = True
        return found

    def beyond_weight(self, kept: NDArray[np.bool_], weights: list[float]) -> NDArray[np.bool_]:
        """The kept pairs that their dataset's weight leaves out.

        Of n pairs of a dataset round(weight * n) stay, those with the lowest hashes: the same ones
        whatever the order of the rows, and a larger weight only adds to them.
        """
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        beyond = np.zeros(len(keys), dtype=np.bool_)
        for source, weight in enumerate(weights):
            if weight < 1:
                pairs = np.flatnonzero(kept & (self.sources == source))
                ranked = pairs[np.argsort(keys[pairs], kind="stable")]
                beyond[ranked[round(weight * len(pairs)) :]] = True
        return beyond
