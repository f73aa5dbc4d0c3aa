"""reward/harness/linked.py: pairs that common sides link, against a search of all chains."""

from hypothesis import given
from hypothesis import strategies as st

from reward.harness.linked import linked

sides = st.one_of(st.none(), st.integers(0, 12))


def test_by_hand() -> None:
    assert linked([("a", "b"), ("c", "d"), (None, None), ("d", "b"), ("e", None)]) == [
        0,
        0,
        2,
        0,
        4,
    ]
    assert linked([]) == []


@given(st.lists(st.tuples(sides, sides), max_size=25))
def test_groups_are_what_chains_of_common_sides_reach(pairs: list[tuple[int, int]]) -> None:
    found = linked(pairs)
    for start in range(len(pairs)):
        reached = {start}
        while more := {
            other
            for other, pair in enumerate(pairs)
            if other not in reached and any(set(pair) & set(pairs[one]) - {None} for one in reached)
        }:
            reached |= more
        assert {pair for pair in range(len(pairs)) if found[pair] == found[start]} == reached
        assert found[start] == min(reached)
