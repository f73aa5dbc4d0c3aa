"""Token sequences of several requests, grouped so that common beginnings are computed once.

Sorted by their tokens, sequences that begin alike are neighbours. A group of the scorer has one
prefix: of beginnings within beginnings (prompts with one system turn), the one is shared that saves
more tokens.
"""

from bisect import bisect
from collections.abc import Iterable, Sequence

import numpy as np

from reward.scoring.groups import Group
from reward.tokens.prefix import Ids, common_prefix


class Prefixes:
    """Sequences sorted by their tokens.

    tokens: what is left of all sequences where each beginning counts once; a pass computes these
        or, with beginnings within beginnings, a few more.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._keys: list[bytes] = []  # the ids, most significant byte first: bytes sort as they do
        self._sequences: list[Ids] = []
        self._numbers: list[int] = []  # of each sequence, how many came before it

    def add(self, sequences: Iterable[Ids]) -> None:
        """Put sequences in."""
        for sequence in sequences:
            key = sequence.astype(">u4").tobytes()
            place = bisect(self._keys, key)
            neighbours = self._sequences[max(0, place - 1) : place + 1]
            shared = max((common_prefix(sequence, other) for other in neighbours), default=0)
            self.tokens += len(sequence) - shared
            self._numbers.insert(place, len(self._numbers))
            self._keys.insert(place, key)
            self._sequences.insert(place, sequence)

    def groups(self) -> list[Group]:
        """All sequences, in their order, as groups that compute few tokens.

        Each sequence begins as a group of its own. Neighbouring groups become one, those first that
        have most in common, where that saves more tokens than the two save apart.
        """
        count = len(self._sequences)
        common = [0, *map(common_prefix, self._sequences[:-1], self._sequences[1:])]
        ends = {start: start + 1 for start in range(count)}
        starts = {end: start for start, end in ends.items()}
        prefixes = dict.fromkeys(range(count), 0)  # by where a group starts
        for border in sorted(range(1, count), key=lambda place: -common[place]):
            start, end = starts[border], ends[border]
            apart = (border - start - 1) * prefixes[start] + (end - border - 1) * prefixes[border]
            if (end - start - 1) * common[border] > apart:
                ends[start], starts[end] = end, start
                prefixes[start] = common[border]
                del ends[border], starts[border]
        return [Group.of(self._sequences[start:end]) for start, end in sorted(ends.items())]

    def alone(self) -> list[Group]:
        """The same, each sequence a group of its own."""
        return [Group.of([sequence]) for sequence in self._sequences]

    def in_turn(self, rewards: Sequence[np.ndarray]) -> np.ndarray:
        """The rewards of the groups, one array for each, as (sequences,) in the order of `add`."""
        found = np.empty(len(self._numbers))
        found[self._numbers] = np.concatenate(rewards)
        return found
