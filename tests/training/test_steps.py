"""reward/training/steps.py: every prompt once an epoch, with all its pairs in one step."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reward.training.steps import Steps


def test_an_epoch_takes_every_pair_once() -> None:
    steps = Steps([1] * 10, batch_pairs=4, epochs=3, seed=7)
    batches = list(steps)
    assert len(batches) == len(steps) == 9
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(itertools.chain(*batches[3 * epoch : 3 * epoch + 3])) == list(range(10))
    assert batches[:3] != batches[3:6]
    assert batches == list(Steps([1] * 10, 4, 3, seed=7))
    assert batches != list(Steps([1] * 10, 4, 3, seed=8))


def test_pairs_alone_are_cut_out_of_the_permutation_as_they_stand() -> None:
    order = np.random.default_rng([7, 0]).permutation(10).tolist()
    assert list(Steps([1] * 10, 4, 1, seed=7)) == [order[:4], order[4:8], order[8:]]


def test_a_step_takes_whole_prompts_until_its_pairs_are_reached() -> None:
    sizes = [6, 1, 6, 3, 1, 1, 21]
    order = np.random.default_rng([3, 0]).permutation(7).tolist()
    assert order == [5, 6, 2, 1, 4, 3, 0]
    # 1 + 21 | 6 + 1 + 1 + 3 | 6: at least 9 pairs each, and then what is left.
    steps = Steps(sizes, batch_pairs=9, epochs=1, seed=3)
    assert list(steps) == [[5, 6], [2, 1, 4, 3], [0]]
    assert steps.per_epoch == [3]


@given(
    st.lists(st.integers(1, 21), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_every_step_is_full_but_for_an_epochs_last(
    sizes: list[int], batch_pairs: int, epochs: int, seed: int
) -> None:
    steps = Steps(sizes, batch_pairs, epochs, seed)
    batches = iter(steps)
    assert len(steps) == sum(steps.per_epoch)
    for count in steps.per_epoch:
        epoch = list(itertools.islice(batches, count))
        assert sorted(itertools.chain(*epoch)) == list(range(len(sizes)))
        for batch in epoch[:-1]:
            assert sum(sizes[i] for i in batch) >= batch_pairs
        for batch in epoch:
            assert sum(sizes[i] for i in batch[:-1]) < batch_pairs
    assert next(batches, None) is None
