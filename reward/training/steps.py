"""Which prompts each optimiser step takes."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class Steps(Sampler[list[int]]):
    """The prompts of every step of a run, as positions in the training data.

    sizes: the number of pairs of each. Each epoch is a permutation drawn from the seed and the
    epoch; a step takes prompts until it has `batch_pairs` pairs or more, and an epoch's last step
    what is left. per_epoch: the number of steps of each epoch, which differs where sizes do.
    """

    def __init__(self, sizes: Sequence[int], batch_pairs: int, epochs: int, seed: int):
        self.sizes, self.batch_pairs, self.seed = sizes, batch_pairs, seed
        self.per_epoch = [sum(1 for _ in self._epoch(epoch)) for epoch in range(epochs)]

    def __len__(self) -> int:
        return sum(self.per_epoch)

    def __iter__(self) -> Iterator[list[int]]:
        for epoch in range(len(self.per_epoch)):
            yield from self._epoch(epoch)

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.sizes)).tolist()
        step: list[int] = []
        pairs = 0
        for prompt in order:
            step.append(prompt)
            pairs += self.sizes[prompt]
            if pairs >= self.batch_pairs:
                yield step
                step, pairs = [], 0
        if step:
            yield step
