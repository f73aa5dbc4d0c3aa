"""reward/scoring/groups.py: prefixes, micro-batches under a budget, shares of processes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reward.scoring.groups import Group, micro_batches, shares

ids = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(np.array)
sizes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=20)


def test_pair_shares_its_longest_common_prefix() -> None:
    group = Group.of([np.array([5, 6, 7, 8]), np.array([5, 6, 9])])
    assert group.prefix == 2
    assert group.shared_tokens == 5  # 5 6 | 7 8 | 9


def test_each_sequence_keeps_a_token_of_its_own() -> None:
    group = Group.of([np.array([5, 6]), np.array([5, 6, 7])])
    assert group.prefix == 1
    assert group.shared_tokens == 4  # 5 | 6 | 6 7


def test_more_answers_than_a_budget_holds_are_cut_in_order() -> None:
    answers = [np.array([5, 6, *own]) for own in ([1], [2, 2], [3, 3, 3, 3, 3, 3], [4])]
    group = Group.of(answers)
    assert group.prefix == 2
    pieces = group.pieces(5)
    # 5 6 | 1 | 2 2 are five tokens; the third answer has eight alone.
    assert [len(piece.sequences) for piece in pieces] == [2, 1, 1]
    assert [piece.shared_tokens for piece in pieces] == [5, 8, 3]
    assert [one.tolist() for piece in pieces for one in piece.sequences] == [
        one.tolist() for one in answers
    ]
    assert [len(piece.sequences) for piece in group.pieces(1000)] == [4]


def test_one_sequence_shares_nothing() -> None:
    assert Group.of([np.array([5, 6, 7])]).prefix == 0


@given(st.lists(ids, min_size=2, max_size=4))
def test_prefix_is_common_and_longest(sequences: list[np.ndarray]) -> None:
    group = Group.of(sequences)
    shortest = min(map(len, sequences))
    assert 0 <= group.prefix < shortest
    assert len({tuple(sequence[: group.prefix]) for sequence in sequences}) == 1
    if group.prefix + 1 < shortest:
        assert len({tuple(sequence[: group.prefix + 1]) for sequence in sequences}) > 1


def test_pieces_that_each_compute_the_prefix_have_two_answers_at_least() -> None:
    group = Group.of([np.array([5, 6, *own]) for own in ([1], [2, 2], [3] * 6, [4], [7])])
    pieces = group.pieces(6, known=False, least=2)
    # 5 6 | 1 | 2 2 are five tokens; 5 6 | 3 3 3 3 3 3 | 4 are nine, and the shortest pair there is.
    assert [len(piece.sequences) for piece in pieces] == [2, 2, 1]
    assert [piece.shared_tokens for piece in pieces] == [5, 9, 3]
    assert [len(piece.sequences) for piece in group.pieces(1, known=False, least=2)] == [2, 2, 1]


def test_micro_batches_take_the_longest_first() -> None:
    # 9 stands alone over the budget of 8; 5 + 3 = 8 fits; 2 is left.
    assert micro_batches([(3, 1), (9, 1), (2, 1), (5, 1)], 8, padded=False) == [[1], [3, 0], [2]]


def test_padding_counts_as_computed() -> None:
    # Two rows each, padded to the longest of the micro-batch: 2 * 4 + 2 * 4 = 16 > 15.
    assert micro_batches([(4, 2), (3, 2), (3, 2)], 15, padded=True) == [[0], [1, 2]]


@given(sizes, st.integers(1, 100), st.booleans())
def test_every_group_once_and_no_micro_batch_over_budget(
    groups: list[tuple[int, int]], budget: int, padded: bool
) -> None:
    groups = [(tokens, rows if padded else 1) for tokens, rows in groups]
    batches = micro_batches(groups, budget, padded)
    assert sorted(i for batch in batches for i in batch) == list(range(len(groups)))
    for batch in batches:
        longest = max(groups[i][0] for i in batch)
        cost = sum((longest if padded else groups[i][0]) * groups[i][1] for i in batch)
        assert cost <= budget or len(batch) == 1


def test_shares_balance_tokens() -> None:
    # 8 and 7 go apart, 6 joins 7 (13), 5 joins 8 (13), 4 joins the first of the equals.
    assert shares([4, 5, 6, 7, 8], 2) == [[4, 1, 0], [3, 2]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 5))
def test_every_group_belongs_to_one_process(tokens: list[int], processes: int) -> None:
    partition = shares(tokens, processes)
    assert sorted(i for share in partition for i in share) == list(range(len(tokens)))
    loads = [sum(tokens[i] for i in share) for share in partition]
    assert max(loads) - min(loads) <= max(tokens)
