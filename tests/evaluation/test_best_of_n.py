"""reward.evaluation.best_of_n: who is on top, by hand and by looking at every answer."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.evaluation.best_of_n import best_of_n, choose


def arrays(pairs: Sequence[tuple[float, ...]]) -> list[np.ndarray]:
    """Of (prompt, place, place, rating, rating, reward, reward) for each pair."""
    table = np.array(pairs, dtype=float)
    return [table[:, 0].astype(int), table[:, 1:3].astype(int), table[:, 3:5], table[:, 5:7]]


def test_a_prompt_is_right_where_the_highest_reward_is_a_best_answers() -> None:
    chosen = choose(
        *arrays(
            [
                # One best answer of four, with rewards 2 above 1, 0 and -1.
                (7, 0, 1, 1, 0, 2, 1),
                (7, 0, 2, 1, 0, 2, 0),
                (7, 0, 3, 1, 0, 2, -1),
                # The same, and one of the others has 3.
                (8, 0, 1, 1, 0, 2, 1),
                (8, 0, 2, 1, 0, 2, 3),
                (8, 0, 3, 1, 0, 2, -1),
                # Two best answers of three, one of them on top.
                (9, 0, 2, 1, 0, 5, 1),
                (9, 1, 2, 1, 0, 0, 1),
                # A ranking of three, whose second one is on top.
                (10, 0, 1, 3, 2, 0, 1),
                (10, 0, 2, 3, 1, 0, -1),
                (10, 1, 2, 2, 1, 1, -1),
            ]
        )
    )
    assert chosen.prompts.tolist() == [7, 8, 9, 10]
    assert chosen.answers.tolist() == [4, 4, 3, 3]
    assert chosen.chance.tolist() == [1 / 4, 1 / 4, 2 / 3, 1 / 3]
    assert chosen.right.tolist() == [1, 0, 1, 0]


def test_ties_share_the_credit() -> None:
    chosen = choose(
        *arrays(
            [
                (0, 0, 1, 1, 0, 2, 2),  # one best answer and one other have 2, a third 1: 1/2
                (0, 0, 2, 1, 0, 2, 1),
                (1, 0, 2, 1, 0, 4, 4),  # two best answers and the other have 4: 2/3
                (1, 1, 2, 1, 0, 4, 4),
            ]
        )
    )
    assert chosen.right.tolist() == [1 / 2, 2 / 3]


def test_only_prompts_with_three_answers_or_more_are_counted() -> None:
    two = choose(*arrays([(0, 0, 1, 1, 0, 2, 1)]))
    assert best_of_n(two, two.prompts, 0.95) is None
    both = choose(*arrays([(0, 0, 1, 1, 0, 2, 1), (1, 0, 1, 1, 0, 1, 2), (1, 0, 2, 1, 0, 1, 0)]))
    # Wilson for 0 of 1: z^2 / (1 + z^2) = 3.841459 / 4.841459.
    assert best_of_n(both, both.prompts, 0.95) == {
        "prompts": 1,
        "answers": 3,
        "accuracy": 0.0,
        "accuracy_low": 0.0,
        "accuracy_high": pytest.approx(0.793451, abs=1e-6),
        "chance": pytest.approx(1 / 3),
    }


def test_pairs_without_ratings_are_prompts_of_two_answers() -> None:
    nothing = float("nan")
    unrated = choose(*arrays([(0, 0, 1, nothing, nothing, 2, 1)]))
    assert best_of_n(unrated, unrated.prompts, 0.95) is None


def test_a_prompt_with_an_answer_that_is_not_rated_does_not_count() -> None:
    nothing = float("nan")
    rated = [(0, 0, 1, 1.0, 0.0, 2, 1), (0, 0, 2, 1.0, 0.0, 2, 0)]
    partly = [(1, 0, 1, 4.0, nothing, 2, 1), (1, 0, 2, 4.0, 0.0, 2, 0)]
    with_it, without = choose(*arrays(rated + partly)), choose(*arrays(rated))
    found = best_of_n(with_it, with_it.prompts, 0.95)
    assert found is not None
    assert found == best_of_n(without, without.prompts, 0.95)


lists = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=5).filter(
        lambda answers: len({rating for rating, _ in answers}) > 1
    ),
    min_size=1,
    max_size=6,
)


@given(lists)
def test_equals_looking_at_every_answer(prompts: list[list[tuple[int, int]]]) -> None:
    pairs = []
    expected = defaultdict(list)
    for number, answers in enumerate(prompts):
        for i, (better, reward) in enumerate(answers):
            for j, (worse, other) in enumerate(answers):
                if better > worse:
                    pairs.append((number, i, j, better, worse, reward, other))
        best = max(rating for rating, _ in answers)
        top = max(reward for _, reward in answers)
        on_top = [rating for rating, reward in answers if reward == top]
        expected["right"].append(on_top.count(best) / len(on_top))
        expected["chance"].append(sum(rating == best for rating, _ in answers) / len(answers))
    chosen = choose(*arrays(pairs))
    assert chosen.right.tolist() == pytest.approx(expected["right"])
    assert chosen.chance.tolist() == pytest.approx(expected["chance"])


@given(lists)
def test_a_constant_model_gets_the_chance_level(prompts: list[list[tuple[int, int]]]) -> None:
    pairs = [
        (number, i, j, better, worse, 0.5, 0.5)
        for number, answers in enumerate(prompts)
        for i, (better, _) in enumerate(answers)
        for j, (worse, _) in enumerate(answers)
        if better > worse
    ]
    chosen = choose(*arrays(pairs))
    assert chosen.right.tolist() == pytest.approx(chosen.chance.tolist())
