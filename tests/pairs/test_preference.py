"""reward.pairs.preference: what identifies a pair and what makes one valid."""

import json
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.pairs.preference import (
    SCHEMA,
    Message,
    Preference,
    UnusableError,
    prompt_key,
    rating,
    to_batch,
)

PAIR = Preference((Message("user", "Two and two?"),), "Four.", "Five.", 4.0, 1.5)
texts = st.text(st.characters(exclude_categories=["Cs"]))
pairs = st.builds(
    Preference,
    st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), texts)).map(tuple),
    texts,
    texts,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


def test_pair_id_is_the_hash_of_the_content() -> None:
    # blake2b, 16 bytes, of this JSON text; worked out with `b2sum --length=128`.
    content = '[[["user", "Two and two?"]], "Four.", "Five."]'
    assert PAIR.pair_id == blake2b(content.encode(), digest_size=16).hexdigest()
    assert PAIR.pair_id == "f8e4f4d401c08437d0b8b2a0184f889d"


@given(pairs, pairs)
def test_pair_id_tells_contents_apart_and_nothing_else(one: Preference, other: Preference) -> None:
    same = (one.prompt, one.chosen, one.rejected) == (other.prompt, other.chosen, other.rejected)
    assert (one.pair_id == other.pair_id) == same
    assert replace(one, chosen_rating=None, rejected_rating=None).pair_id == one.pair_id


def test_pair_id_knows_where_a_text_ends() -> None:
    assert replace(PAIR, chosen="ab", rejected="c").pair_id != (
        replace(PAIR, chosen="a", rejected="bc").pair_id
    )


@given(pairs)
def test_swapping_twice_gives_the_pair_back(pair: Preference) -> None:
    assert pair.swapped().chosen == pair.rejected
    assert pair.swapped().rejected_rating == pair.chosen_rating
    assert pair.swapped().swapped() == pair
    assert replace(pair, places=(1, 2)).swapped().places == (2, 1)


@given(st.lists(pairs, max_size=5))
def test_a_batch_holds_the_pairs_unchanged(batch: list[Preference]) -> None:
    rows = to_batch(batch, "mine").to_pylist()
    assert to_batch(batch, "mine").schema == SCHEMA
    assert all(row["source"] == "mine" for row in rows)
    assert [row["pair_id"] for row in rows] == [pair.pair_id for pair in batch]
    assert [
        Preference(
            tuple(Message(**turn) for turn in row["prompt"]),
            *(row[name] for name in SCHEMA.names[2:-1]),
        )
        for row in rows
    ] == batch


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((3, 3.0), (2.5, 2.5), (None, None), (float("nan"), None)),
        *(("4.5", 4.5), (" 1e-5 ", 1e-5), ("-3", -3.0), ("", None)),  # as CSV files have them
    ],
)
def test_rating(value: object, number: float | None) -> None:
    assert rating(value) == number


@pytest.mark.parametrize(
    "value", ["N/A", "4/5", "nan", "1_0", "٣", "1e400", True, float("inf"), 10**400, [1.0]]
)
def test_rating_that_is_no_number(value: object) -> None:
    with pytest.raises(UnusableError, match="rating_not_a_number"):
        rating(value)


@pytest.mark.parametrize("value", [1.1e12, -(10**13), 1e308, -1.7e308])
def test_a_rating_that_sums_would_overflow_with(value: object) -> None:
    assert rating(1e12) == 1e12
    with pytest.raises(UnusableError, match="rating_too_large"):
        rating(value)


def test_prompt_key_ignores_case_and_white_space() -> None:
    assert prompt_key([("user", "  Straße\n\tNORTH ")]) == prompt_key([("user", "STRASSE north")])
    assert json.loads(prompt_key([("user", "A  b")])) == [["user", "a b"]]


def test_prompt_key_keeps_turns_and_roles_apart() -> None:
    keys = {
        prompt_key([("user", "a b")]),
        prompt_key([("user", "ab")]),
        prompt_key([("system", "a b")]),
        prompt_key([("user", "a"), ("user", "b")]),
    }
    assert len(keys) == 4
