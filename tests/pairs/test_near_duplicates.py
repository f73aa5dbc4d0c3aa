"""reward.pairs.near_duplicates: estimates against exact similarities, and what the index finds."""

import random

import numpy as np
import pytest

from reward.pairs.near_duplicates import (
    Index,
    bands,
    fold,
    low_bytes,
    shingles,
    signatures,
    similarities,
)


def prompt(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_shingles_are_word_triples_without_case_white_space_and_system_turn() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One  TWO\n"},
        {"role": "assistant", "content": "three four"},
    ]
    assert shingles(turns) == ["one two three", "two three four"]
    assert shingles(prompt(" One two ")) == ["one two"]
    assert shingles(prompt(" ")) == [""]


def test_fold_is_fnv_1a() -> None:
    # Published 64-bit FNV-1a of the bytes "a" and "foobar".
    assert fold(np.array([[0x61]], dtype=np.uint64)).tolist() == [0xAF63DC4C8601EC8C]
    word = np.array([[byte] for byte in b"foobar"], dtype=np.uint64)
    assert fold(word).tolist() == [0x85944171F73967E8]


@pytest.mark.parametrize("shared", [0, 50, 80, 95, 100])
def test_the_estimate_is_near_the_similarity(shared: int) -> None:
    draw = random.Random(shared)
    ones, others = [], []
    for _ in range(50):
        words = [str(draw.randrange(10**9)) for _ in range(302)]
        # 300 triples each, of which 3 * shared are the same; the others begin in a changed word.
        ones.append(prompt(" ".join(words)))
        others.append(prompt(" ".join(words[: 3 * shared + 2] + ["x"] * (300 - 3 * shared))))
    exact = []
    for one, other in zip(ones, others, strict=True):
        first, second = set(shingles(one)), set(shingles(other))
        exact.append(len(first & second) / len(first | second))
    estimates = similarities(low_bytes(signatures(ones)), low_bytes(signatures(others)))
    # 50 estimates of standard error at most sqrt(0.25 / 120) = 0.046: their mean errs by 0.007.
    assert abs(float(np.mean(estimates - exact))) < 0.025
    assert float(np.abs(estimates - exact).max()) < 0.2


def changed(words: list[str], count: int, draw: random.Random) -> str:
    """The text with `count` words from the end replaced: 3-grams lost are count + 2 at most."""
    return " ".join(words[: len(words) - count] + [str(draw.random()) for _ in range(count)])


def test_the_index_finds_what_is_near_and_nothing_else() -> None:
    draw = random.Random(7)
    texts = [[str(draw.randrange(10**6)) for _ in range(100)] for _ in range(500)]
    index = Index([signatures([prompt(" ".join(words)) for words in texts])], 0.8)
    # 3 of 98 triples differ: 95 / 101 = 0.94. 40 differ: 58 / 138 = 0.42.
    near = index.near(signatures([prompt(changed(words, 3, draw)) for words in texts[:200]]))
    far = index.near(signatures([prompt(changed(words, 40, draw)) for words in texts[200:]]))
    assert near.all()
    assert not far.any()
    assert index.met == 200


def test_a_template_that_very_many_share_is_still_met() -> None:
    text = " ".join(map(str, range(200)))
    index = Index([signatures([prompt(f"{text} {number}") for number in range(1000)])], 0.8)
    assert index.near(
        signatures([prompt(f"{text} other"), prompt("Something else.")])
    ).tolist() == [
        True,
        False,
    ]


def test_repeated_prompts_are_counted_each() -> None:
    text = " ".join(map(str, range(50)))
    index = Index([signatures([prompt(text)] * 3), signatures([prompt("Another one.")])], 0.8)
    assert index.near(signatures([prompt(text.upper())])).tolist() == [True]
    assert index.met == 3


def test_prompts_of_one_set_that_are_near_one_another() -> None:
    draw = random.Random(7)
    texts = [[str(draw.randrange(10**6)) for _ in range(100)] for _ in range(60)]
    near = [changed(words, 3, draw) for words in texts[:20]]
    far = [changed(words, 40, draw) for words in texts[20:40]]
    prompts = [prompt(" ".join(words)) for words in texts] + [prompt(text) for text in near + far]
    found = Index([signatures(prompts[:50]), signatures(prompts[50:])], 0.8).near_one_another()
    assert np.flatnonzero(found).tolist() == [*range(20), *range(60, 80)]


def test_bands_differ_where_their_minima_do() -> None:
    one, other = signatures([prompt("one two three"), prompt("four five six")])
    mixed = np.stack([one, other, np.concatenate([one[:6], other[6:]])])
    keys = bands(mixed)
    assert keys[2, 0] == keys[0, 0] != keys[1, 0]
    assert (keys[2, 1:] == keys[1, 1:]).all()
