"""reward/scoring/comparisons.py: the pairs of a token table as groups of answers."""

import numpy as np
import pyarrow as pa

from reward.scoring.comparisons import read_comparisons, read_rating_gaps
from reward.tokens.records import Token

A, B, C = [1, 2, 3], [1, 2, 4, 4], [1, 2, 5]


def table(
    *pairs: tuple[list[int], list[int], float | None, float | None], prompts: str = ""
) -> pa.Table:
    """prompts: a letter for each pair; all of one prompt where there is none."""
    chosen, rejected, chosen_rating, rejected_rating = zip(*pairs, strict=True)
    return pa.table(
        {
            Token.PROMPT_ID: [*(prompts or "p" * len(pairs))],
            Token.CHOSEN_IDS: pa.array(chosen),
            Token.REJECTED_IDS: pa.array(rejected),
            Token.PREFIX_LENGTH: [2 if pair[0] in (A, B, C) else 0 for pair in pairs],
            Token.CHOSEN_RATING: pa.array(chosen_rating, pa.float64()),
            Token.REJECTED_RATING: pa.array(rejected_rating, pa.float64()),
        }
    )


def test_pairs_of_a_sliced_table_are_its_rows() -> None:
    pairs = table(([9], [8], 2, 1), ([1, 2, 3], [1, 2], 2, 1), ([1, 4], [5], 2, 1)).slice(1)
    compared = read_comparisons(pairs)
    first, second = compared.groups
    assert (first.prefix, second.prefix) == (1, 0)  # 2 would leave nothing of 1 2
    assert [sequence.tolist() for sequence in first.sequences] == [[1, 2, 3], [1, 2]]
    assert [sequence.tolist() for sequence in second.sequences] == [[1, 4], [5]]
    assert compared.pairs.tolist() == [[0, 0, 1], [1, 0, 1]]


def test_a_table_says_how_much_the_sides_of_a_pair_share() -> None:
    pairs = table((A, B, None, None))
    where = pairs.schema.get_field_index(Token.PREFIX_LENGTH)
    pairs = pairs.set_column(where, Token.PREFIX_LENGTH, [[1]])  # not 2: read, not computed
    (group,) = read_comparisons(pairs).groups
    assert group.prefix == 1


def test_an_answer_that_was_rated_once_stands_once_in_its_group() -> None:
    # A over B and C, wherever they stand; another prompt between them.
    pairs = table((A, B, 3, 2), ([7, 8], [7, 9], 3, 2), (B, C, 2, 1), (A, C, 3, 1))
    compared = read_comparisons(pairs)
    three, two = compared.groups
    assert [answer.tolist() for answer in three.sequences] == [A, B, C]
    assert three.prefix == 2
    assert [answer.tolist() for answer in two.sequences] == [[7, 8], [7, 9]]
    assert compared.pairs.tolist() == [[0, 0, 1], [1, 0, 1], [0, 1, 2], [0, 0, 2]]
    assert compared.sizes.tolist() == [3, 1]


def test_a_chain_of_common_answers_is_one_group_even_if_its_link_comes_last() -> None:
    pairs = table((A, B, 4, 3), (C, [1, 2, 6], 2, 1), (B, C, 3, 2))
    compared = read_comparisons(pairs)
    assert len(compared.groups) == 1
    assert compared.pairs.tolist() == [[0, 0, 1], [0, 2, 3], [0, 1, 2]]


def test_answers_of_another_rating_or_without_any_link_nothing() -> None:
    for ratings in ((3, 2, 2.5, 2), (None, None, None, None)):
        one, two, three, four = ratings
        compared = read_comparisons(table((A, B, one, two), (A, C, three, four)))
        assert [len(group.sequences) for group in compared.groups] == [2, 2]
        assert compared.pairs.tolist() == [[0, 0, 1], [1, 0, 1]]


def test_one_side_without_a_rating_does_not_part_those_that_have_one() -> None:
    compared = read_comparisons(table((A, B, 3, None), (A, B, 3, None)))
    (group,) = compared.groups
    assert [answer.tolist() for answer in group.sequences] == [A, B, B]
    assert compared.pairs.tolist() == [[0, 0, 1], [0, 0, 2]]


def test_sides_of_some_groups_by_hand() -> None:
    pairs = table(([7], [8], 2, 1), (A, B, 3, 2), ([9], [6], 2, 1), (A, C, 3, 1))
    compared = read_comparisons(pairs)
    # Groups 2 (9, 6) and 1 (A, B, C): their answers are 0 1 | 2 3 4.
    places, sides = compared.among([2, 1])
    assert places.tolist() == [2, 1, 3]
    assert sides.tolist() == [[0, 1], [2, 3], [2, 4]]
    rewards = [np.array([7.0, 8.0]), np.array([1.0, 2.0, 3.0]), np.array([9.0, 6.0])]
    assert compared.of_pairs(rewards).tolist() == [[7, 8], [1, 2], [9, 6], [1, 3]]


def test_pairs_of_one_prompt_have_one_number_in_whatever_groups_they_are() -> None:
    pairs = table((A, B, None, None), ([7], [8], 2, 1), (A, C, None, None), prompts="qpq")
    compared = read_comparisons(pairs.slice(0))
    assert compared.pairs[:, 0].tolist() == [0, 1, 2]
    assert compared.prompts.tolist() == [0, 1, 0]


def test_gaps_are_nan_where_a_rating_is_missing() -> None:
    gaps = read_rating_gaps(table((A, B, 3, 2.5), (A, C, None, 1)))
    assert gaps.dtype == np.float32
    np.testing.assert_array_equal(gaps, [0.5, np.nan])
