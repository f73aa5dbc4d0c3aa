"""Which answers are compared: the pairs of a token table as groups of answers.

K answers to one prompt make up to K (K - 1) / 2 pairs, in which each answer stands K - 1 times. As
one group it is computed once for all of them, as in InstructGPT (Ouyang et al. 2022, arXiv
2203.02155, section 3.5), whose batch element is all comparisons of a prompt.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reward.harness.linked import linked
from reward.scoring.groups import Group
from reward.tokens.records import Token, numbered


@dataclass(frozen=True)
class Comparisons:
    """Groups of answers, and the pairs among them.

    pairs: int64 (pairs, 3), for each its group and the places of its chosen and its rejected side
        there. A group of one pair has its sequences in this order.
    prompts: int64 (pairs,), which prompt each pair is of, numbered from 0. Pairs of one prompt need
        not be in one group.
    """

    groups: Sequence[Group]
    pairs: NDArray[np.int64]
    prompts: NDArray[np.int64]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The number of pairs of each group."""
        return np.bincount(self.pairs[:, 0], minlength=len(self.groups))

    @cached_property
    def _by_group(self) -> list[NDArray[np.int64]]:
        return np.split(np.argsort(self.pairs[:, 0], kind="stable"), np.cumsum(self.sizes)[:-1])

    def among(self, groups: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pairs of some groups, group by group, as places in `pairs`, (n,); and where their
        chosen and rejected sides stand among all answers of these groups, (n, 2).
        """
        pairs = np.concatenate([self._by_group[i] for i in groups])
        answers = np.array([len(self.groups[i].sequences) for i in groups], dtype=np.int64)
        starts = np.repeat(np.cumsum(answers) - answers, self.sizes[list(groups)])
        return pairs, self.pairs[pairs, 1:] + starts[:, None]

    def of_pairs(self, rewards: Sequence[np.ndarray]) -> np.ndarray:
        """The rewards of both sides of each pair, (pairs, 2), from those of all groups' answers."""
        pairs, sides = self.among(range(len(self.groups)))
        found = np.empty((len(pairs), 2), dtype=rewards[0].dtype)
        found[pairs] = np.concatenate(rewards)[sides]
        return found


NONE = Comparisons((), np.empty((0, 3), dtype=np.int64), np.empty(0, dtype=np.int64))


def read_comparisons(table: pa.Table) -> Comparisons:
    """The pairs of a token table, in its order.

    Pairs are in one group where the same tokens stand in both with the same rating: an answer that
    was rated once and has been cut alike. What has no rating is in one pair alone. Groups are in
    the order of their first pairs, their answers in the order of their first comparisons.
    """
    columns = [_rows(table[ids]) for ids in (Token.CHOSEN_IDS, Token.REJECTED_IDS)]
    ratings = [table[name].to_pylist() for name in (Token.CHOSEN_RATING, Token.REJECTED_RATING)]
    sides: list[list[Hashable]] = [
        [
            None if rating is None else (blake2b(answer.data, digest_size=16).digest(), rating)
            for answer, rating in zip(*side, strict=True)
        ]
        for side in zip(columns, ratings, strict=True)
    ]
    members: dict[int, list[int]] = {}
    for row, first in enumerate(linked(zip(*sides, strict=True))):
        members.setdefault(first, []).append(row)
    prefixes = table[Token.PREFIX_LENGTH].to_pylist()
    groups: list[Group] = []
    pairs = np.empty((len(table), 3), dtype=np.int64)
    for number, rows in enumerate(members.values()):
        places: dict[Hashable, int] = {}
        answers: list[np.ndarray] = []
        for row in rows:
            pairs[row, 0] = number
            for side in (0, 1):
                key = sides[side][row] or (row, side)
                if key not in places:
                    places[key] = len(answers)
                    answers.append(columns[side][row])
                pairs[row, 1 + side] = places[key]
        if len(rows) == 1:  # the table says how much its sides share
            prefix = min(prefixes[rows[0]], *(len(answer) - 1 for answer in answers))
            groups.append(Group(tuple(answers), prefix))
        else:
            groups.append(Group.of(answers))
    return Comparisons(groups, pairs, numbered(table[Token.PROMPT_ID]))


def read_rating_gaps(table: pa.Table) -> np.ndarray:
    """Chosen rating minus rejected rating of a token table, float32 (pairs,); NaN if unrated."""
    gaps = pc.subtract(table[Token.CHOSEN_RATING], table[Token.REJECTED_RATING])
    return gaps.to_numpy().astype(np.float32)


def _rows(column: pa.ChunkedArray) -> list[np.ndarray]:
    """A list column as views into its one value buffer: no copy per row."""
    lists = column.combine_chunks()
    values = lists.flatten().to_numpy()
    ends = np.cumsum(lists.value_lengths().to_numpy())
    return np.split(values, ends[:-1])
