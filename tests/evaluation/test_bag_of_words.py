"""reward/evaluation/bag_of_words.py: what it learns and minimises, by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest

from reward.evaluation.bag_of_words import bag_of_words


def tokens(*rows):
    ids = pa.list_(pa.int32())
    chosen, rejected = zip(*rows, strict=True)
    table = pa.table({"chosen_ids": pa.array(chosen, ids), "rejected_ids": pa.array(rejected, ids)})
    return table.to_batches(max_chunksize=2)


def test_bag_of_words_learns_words_and_is_antisymmetric():
    # 7 speaks for the chosen side, 8 for the rejected one; 1 and 2 are the shared prompt.
    train = tokens(([1, 2, 7], [1, 2, 8]), ([1, 7, 7], [1, 8]), ([2, 7, 3], [2, 8, 3]))
    margin = bag_of_words(
        train,
        tokens(([1, 7], [1, 8]), ([1, 8], [1, 7]), ([1, 2], [2, 1]), ([1, 99], [1])),
        strength=1.0,
        limit=100,
    )
    assert margin[0] > 0.5
    assert margin[1] == -margin[0]
    assert margin[2] == 0  # the same words in another order
    assert margin[3] == 0  # a word that training never saw


def test_bag_of_words_minimises_the_documented_objective():
    train = tokens(([5, 5, 6], [6]), ([6], [5]), ([5], [6, 6]))
    # Features of tokens 5 and 6 by hand: ln(1 + count) in chosen less that in rejected.
    x = np.array([[math.log(3), 0], [-math.log(2), math.log(2)], [math.log(2), -math.log(3)]])
    unit = tokens(([5], []), ([6], []))  # features (ln 2, 0) and (0, ln 2)
    w = bag_of_words(train, unit, strength=0.5, limit=100) / math.log(2)
    gradient = w - 0.5 * (x / (1 + np.exp(x @ w))[:, None]).sum(axis=0)
    assert gradient == pytest.approx([0, 0], abs=1e-3)


def test_bag_of_words_reads_no_more_than_its_limit_and_repeats_itself():
    random = np.random.default_rng(0)
    rows = [
        (random.integers(0, 50, size).tolist(), random.integers(10, 60, size).tolist())
        for size in random.integers(1, 40, 60)
    ]
    few = bag_of_words(tokens(*rows[:7]), tokens(*rows), strength=0.1, limit=1000)
    assert bag_of_words(tokens(*rows), tokens(*rows), strength=0.1, limit=7).tobytes() == (
        few.tobytes()
    )
    assert (few != bag_of_words(tokens(*rows), tokens(*rows), strength=0.1, limit=8)).any()
