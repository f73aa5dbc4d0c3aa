"""Answers to one prompt, and how many of them go through the model at once.

Nothing here imports torch: sizes and orders are decided on lengths alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward.tokens.prefix import common_prefix


@dataclass(frozen=True)
class Group:
    """Token sequences that start alike: the two sides of a pair, or n answers to one prompt.

    sequences: each an int array of shape (tokens,), prompt and response together.
    prefix: how many leading tokens all of them share and the model computes once; shorter than
        the shortest sequence, so that each keeps a token of its own.
    states: where they are stored (reward.scoring.states), the hidden states of the prefix and of
        each sequence's own tokens, each (tokens, width).
    """

    sequences: tuple[np.ndarray, ...]
    prefix: int
    states: tuple[np.ndarray, ...] = ()

    @staticmethod
    def of(sequences: Sequence[np.ndarray]) -> "Group":
        """Group sequences by their longest common prefix."""
        shortest = min(map(len, sequences))
        prefix = common_prefix(*sequences) if len(sequences) > 1 else 0
        return Group(tuple(sequences), min(prefix, shortest - 1))

    @property
    def shared_tokens(self) -> int:
        """Tokens that the model computes when the prefix is shared."""
        return sum(map(len, self.sequences)) - (len(self.sequences) - 1) * self.prefix

    def pieces(self, budget: int, *, known: bool = True, least: int = 1) -> "list[Group]":
        """The sequences in groups, in order, of at most `budget` tokens each, or `least` sequences.

        known: whether the prefix counts in the first alone, or else in each.
        """
        starts: list[int] = []
        used = self.prefix
        for place, sequence in enumerate(self.sequences):
            own = len(sequence) - self.prefix
            if not starts or (used + own > budget and place - starts[-1] >= least):
                used = 0 if starts and known else self.prefix
                starts.append(place)
            used += own
        ends = [*starts[1:], len(self.sequences)]
        return [self.part(start, end) for start, end in zip(starts, ends, strict=True)]

    def part(self, start: int, end: int) -> "Group":
        """The sequences from `start` to `end` with the same prefix."""
        own = self.states[1:][start:end]
        return Group(self.sequences[start:end], self.prefix, (*self.states[:1], *own))


def micro_batches(sizes: Sequence[tuple[int, int]], budget: int, padded: bool) -> list[list[int]]:
    """Cut one batch into micro-batches of at most `budget` computed tokens.

    sizes: for each group (tokens, rows): its shared tokens and 1, or its longest sequence and its
        number of sequences where rows are padded.
    budget: tokens, padding counted; a group that alone is larger becomes a micro-batch of its own.

    Returns the positions of the groups, longest first, so that a batch that does not fit memory
    fails at its first micro-batch and rows of like length are padded together.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], i))
    batches: list[list[int]] = []
    longest = used = 0
    for i in order:
        tokens, rows = sizes[i]
        cost = longest * rows if padded else tokens
        if not batches or used + cost > budget:
            batches.append([])
            longest, used = tokens, 0
            cost = tokens * rows
        batches[-1].append(i)
        used += cost
    return batches


def shares(sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Partition a batch into a share for each process, of about the same number of tokens.

    Longest processing time first (Graham 1969, "Bounds on multiprocessing timing anomalies"):
    each group, longest first, goes to the process with the fewest tokens so far.
    """
    partition: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        process = loads.index(min(loads))
        partition[process].append(i)
        loads[process] += sizes[i]
    return partition
