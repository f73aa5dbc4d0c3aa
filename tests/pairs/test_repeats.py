"""reward.pairs.repeats: repeats and contradictions, found whatever the order of the pairs."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reward.pairs.preference import Message, Preference
from reward.pairs.repeats import Ledger


def pair(prompt: str, chosen: str, rejected: str, gap: float | None = None) -> Preference:
    return Preference((Message("user", prompt),), chosen, rejected, gap, None)


def enter(*pairs: Preference, sources: list[int] | None = None) -> Ledger:
    ledger = Ledger()
    for row, one in enumerate(pairs, 1):
        ledger.add(one, sources[row - 1] if sources else 0, row)
    return ledger


def test_all_but_the_first_of_the_same_pairs_are_duplicates() -> None:
    ledger = enter(
        pair("A?", "x", "y"), pair("A?", "x", "z"), pair("A?", "x", "y"), pair("B?", "x", "y")
    )
    assert ledger.duplicates().sum() == 1
    assert ledger.duplicates()[[1, 3]].tolist() == [False, False]
    assert not ledger.contradictions().any()
    assert ledger.rows.tolist() == [1, 2, 3, 4]


def test_what_is_wrong_with_a_pair_by_itself_is_remembered() -> None:
    ledger = Ledger()
    one = pair("A?", "x", "y")
    ledger.add(one, 0, 1, ["tie", "replacement_characters"])
    ledger.add(one, 0, 2)
    ledger.add(one, 0, 3, ["tie"])
    assert list(ledger.problems()) == [(0, ["tie", "replacement_characters"]), (2, ["tie"])]


def test_both_sides_of_a_contradiction_are_found() -> None:
    ledger = enter(
        pair("A?", "x", "y"), pair("A?", "y", "x"), pair("A?", "x", "y"), pair("B?", "x", "y")
    )
    assert ledger.contradictions().tolist() == [True, True, True, False]
    assert ledger.duplicates().sum() == 1


def test_the_first_dataset_keeps_what_several_have() -> None:
    one = pair("A?", "x", "y")
    assert enter(one, one, sources=[1, 0]).duplicates().tolist() == [True, False]
    assert enter(one, one, sources=[0, 1]).duplicates().tolist() == [False, True]


def test_which_rating_stays_does_not_depend_on_the_order() -> None:
    one = pair("A?", "x", "y", 1.0)
    other = replace(one, chosen_rating=2.0)
    forth, back = enter(one, other).duplicates(), enter(other, one).duplicates()
    assert forth.sum() == 1
    assert forth.tolist() == back.tolist()[::-1]


contents = st.tuples(*[st.sampled_from("abc")] * 3).map(lambda parts: pair(*parts))


@given(st.lists(contents))
def test_one_of_each_is_left(pairs: list[Preference]) -> None:
    ledger = enter(*pairs)
    kept = [one for one, again in zip(pairs, ledger.duplicates(), strict=True) if not again]
    ids = {one.pair_id for one in pairs}
    assert len(kept) == len(ids)
    assert {one.pair_id for one in kept} == ids
    contradicted = [one.swapped().pair_id in ids and one.chosen != one.rejected for one in pairs]
    assert ledger.contradictions().tolist() == contradicted


def test_a_weight_takes_its_share_of_its_dataset() -> None:
    pairs = [pair(f"{number}?", "x", "y") for number in range(100)]
    ledger = enter(*pairs, sources=[number % 2 for number in range(100)])
    kept = np.ones(100, dtype=np.bool_)
    kept[:20] = False
    beyond = ledger.beyond_weight(kept, [0.25, 1.0])
    assert (kept & ~beyond & (ledger.sources == 0)).sum() == 10  # of 40
    assert (kept & ~beyond & (ledger.sources == 1)).sum() == 40
    more = ledger.beyond_weight(kept, [0.5, 1.0])
    assert not (more & ~beyond).any()  # a larger weight only adds


def test_a_weight_takes_the_same_pairs_in_any_order() -> None:
    pairs = [pair(f"{number}?", "x", "y") for number in range(50)]
    forth = enter(*pairs).beyond_weight(np.ones(50, dtype=np.bool_), [0.3])
    back = enter(*pairs[::-1]).beyond_weight(np.ones(50, dtype=np.bool_), [0.3])
    assert forth.tolist() == back.tolist()[::-1]
    assert forth.sum() == 35
