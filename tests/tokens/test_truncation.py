"""reward/tokens/truncation.py: the rule by hand, and what it promises."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reward.tokens.prefix import common_prefix
from reward.tokens.truncation import Encoded, truncate


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int32)


def cut(prompt: np.ndarray, *responses: np.ndarray, budget: int, floor: float) -> list[list[int]]:
    short = truncate(prompt, responses, budget, floor, {1})
    return [short.prompt.tolist(), *(response.tolist() for response in short.responses)]


def test_truncation_by_hand() -> None:
    prompt, chosen, rejected = ids(1, 2, 3, 4, 5), ids(10, 11, 12), ids(20, 21)
    # 5 + 3 = 8 fits.
    assert cut(prompt, chosen, rejected, budget=8, floor=0.5) == [
        [1, 2, 3, 4, 5],
        [10, 11, 12],
        [20, 21],
    ]
    # One too many: the prompt gives way on its left, but 1, which starts texts, stays.
    assert cut(prompt, chosen, rejected, budget=7, floor=0.5) == [
        [1, 3, 4, 5],
        [10, 11, 12],
        [20, 21],
    ]
    # floor(0.5 * 5) = 2 tokens stay, then the longer response is cut on its right: 2 + 3 = 5.
    assert cut(prompt, chosen, rejected, budget=5, floor=0.5) == [[1, 5], [10, 11, 12], [20, 21]]
    # floor(0.7 * 4) = 2: 4 - 2 = 2 tokens a response.
    assert cut(prompt, chosen, rejected, budget=4, floor=0.7) == [[1, 5], [10, 11], [20, 21]]
    # Without a first token to keep the last ones stay; at least one does.
    assert cut(prompt[1:], chosen, rejected, budget=3, floor=0.0) == [[5], [10, 11], [20, 21]]
    assert cut(prompt, chosen, rejected, budget=2, floor=0.0) == [[1], [10], [20]]


def test_truncation_keeps_sides_apart_by_hand() -> None:
    prompt, chosen, rejected = ids(1, 2, 3), ids(7, 8, 9, 10, 11), ids(7, 8, 9, 20)
    # floor(0.5 * 4) = 2 would leave [1, 3] with [7, 8] on both sides. The responses differ from
    # 10 and 20 on, so 1 2 3 7 8 9 gives way instead, down to 2 tokens.
    assert cut(prompt, chosen, rejected, budget=4, floor=0.5) == [[1, 9], [10, 11], [20]]
    # One response is the beginning of the other.
    assert cut(prompt, chosen, chosen[:3], budget=4, floor=0.5) == [[1, 9], [10, 11], []]
    # A long common start is given up only as far as needed: 7 - 2 tokens of it stay.
    assert cut(prompt, ids(*range(10, 30)), ids(*range(10, 28)), budget=7, floor=0.25) == [
        [1, 24, 25, 26, 27],
        [28, 29],
        [],
    ]


def test_a_short_prompt_is_not_padded_to_the_floor() -> None:
    assert cut(ids(2), ids(10, 11, 12, 13), ids(20), budget=4, floor=0.75) == [
        [2],
        [10, 11, 12],
        [20],
    ]


sequences = st.lists(st.integers(0, 3), max_size=30).map(lambda numbers: ids(*numbers))
any_cut: dict[str, Any] = {
    "prompt": sequences,
    "chosen": sequences,
    "rejected": sequences,
    "budget": st.integers(2, 60),
    "floor": st.floats(0, 1, exclude_max=True),
}


@given(shared=sequences, **any_cut)
def test_truncation_keeps_its_promises(
    prompt: np.ndarray,
    shared: np.ndarray,
    chosen: np.ndarray,
    rejected: np.ndarray,
    budget: int,
    floor: float,
) -> None:
    pair = [np.concatenate([shared, chosen]), np.concatenate([shared, rejected])]
    before = Encoded(prompt, pair)
    after = truncate(prompt, pair, budget, floor, {3})
    wholes = [np.concatenate([before.prompt, response]).tolist() for response in before.responses]
    shorts = [np.concatenate([after.prompt, response]).tolist() for response in after.responses]
    assert max(map(len, shorts)) <= budget
    if max(map(len, wholes)) <= budget:
        assert shorts == wholes
        return
    assert (shorts[0] == shorts[1]) == (wholes[0] == wholes[1])
    # Nothing is lost that there is room for.
    assert max(map(len, shorts)) == budget
    # What starts a text is kept, and what is left of a text is one piece of it.
    for whole, short in zip(wholes, shorts, strict=True):
        if whole[0] == 3:
            assert short[0] == 3
            whole, short = whole[1:], short[1:]
        starts = range(len(whole) - len(short) + 1)
        assert any(whole[start : start + len(short)] == short for start in starts)
    # The prompt's share is kept, and its last token is the last one before the responses.
    kept = min(max(1, int(floor * budget)), len(prompt))
    if kept and not np.array_equal(pair[0], pair[1]):
        assert len(after.prompt) >= kept


@given(**any_cut)
def test_swapping_the_sides_swaps_the_result(
    prompt: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, budget: int, floor: float
) -> None:
    assert (
        cut(prompt, chosen, rejected, budget=budget, floor=floor)[1:]
        == (cut(prompt, rejected, chosen, budget=budget, floor=floor)[:0:-1])
    )


@given(**any_cut)
def test_a_response_alone_is_cut_like_the_longer_of_a_pair(
    prompt: np.ndarray, chosen: np.ndarray, rejected: np.ndarray, budget: int, floor: float
) -> None:
    longer = max(chosen, rejected, key=len)
    pair = truncate(prompt, [chosen, rejected], budget, floor, {3})
    alone = truncate(prompt, [longer], budget, floor, {3})
    room = budget - len(alone.prompt)
    if chosen[:room].tolist() != rejected[:room].tolist() and len(chosen) != len(rejected):
        side = pair.responses[int(longer is rejected)]
        assert alone.prompt.tolist() == pair.prompt.tolist()
        assert alone.responses[0].tolist() == side.tolist()


def test_common_prefix_by_hand() -> None:
    assert common_prefix(ids(1, 2, 3), ids(1, 2, 4)) == 2
    assert common_prefix(ids(1, 2), ids(1, 2, 4)) == 2
    assert common_prefix(ids(1, 2, 3), ids(1, 2, 3), ids(1, 5)) == 1
    assert common_prefix(ids(), ids(1)) == 0
    assert common_prefix(ids(1, 2)) == 2
