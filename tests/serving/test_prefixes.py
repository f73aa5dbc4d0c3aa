"""Common beginnings: which sequences share theirs, and what that leaves to compute."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reward.serving.prefixes import Prefixes


def groups(*texts: str) -> tuple[Prefixes, list[tuple[list[str], int]]]:
    """Sequences written as letters, and the groups that they come in."""
    prefixes = Prefixes()
    prefixes.add(np.array([*text.encode()], dtype=np.int32) for text in texts)
    found = [
        (["".join(map(chr, one)) for one in group.sequences], group.prefix)
        for group in prefixes.groups()
    ]
    return prefixes, found


def test_each_prompt_has_a_group_of_its_own() -> None:
    # "ab" begins three of them, but sharing it would cost what "abcdef" saves: 2 x 2 < 6.
    prefixes, found = groups("abcdefgx", "zz", "abyy", "abcdefgz")
    assert found == [(["abcdefgx", "abcdefgz"], 7), (["abyy"], 0), (["zz"], 0)]
    # Each beginning once: 8 + 2 + 2 (of abyy) + 1 (the last letter).
    assert prefixes.tokens == 13


def test_a_beginning_of_all_is_shared_where_it_saves_more() -> None:
    # "abcd" for three saves 2 x 4, "abcde" for two only 5.
    _, found = groups("abcdex", "abcdey", "abcdzz")
    assert found == [(["abcdex", "abcdey", "abcdzz"], 4)]


def test_each_keeps_a_token_of_its_own() -> None:
    _, found = groups("abc", "abc", "abcd")
    assert found == [(["abc", "abc", "abcd"], 2)]


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=12))
def test_nothing_is_lost_and_rewards_find_their_way_back(texts: list[str]) -> None:
    prefixes, found = groups(*texts)
    assert sorted(text for group, _ in found for text in group) == sorted(texts)
    for group, prefix in found:
        assert len({text[:prefix] for text in group}) == 1
        assert prefix < min(map(len, group))
    # Of each sequence a number that tells it apart, as if it were its reward.
    rewards = [np.array([hash(text) % 1000 for text in group]) for group, _ in found]
    assert prefixes.in_turn(rewards).tolist() == [hash(text) % 1000 for text in texts]
    computed = sum(group.shared_tokens for group in prefixes.groups())
    assert prefixes.tokens <= computed <= sum(map(len, texts))
