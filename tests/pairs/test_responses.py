"""reward.pairs.responses and the format ratings: responses to a prompt, wherever they are."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reward.pairs import responses
from reward.pairs.preference import Message
from reward.pairs.rows import Row
from tests.support.candidates import pairs, read, reasons


def rated(prompt: str, response: str | None, *values: Any) -> Row:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response, **dict(zip(names, values, strict=True))}


@pytest.mark.parametrize("count", [1, 7])
def test_groups_need_not_be_adjacent_or_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(responses, "BATCH_ROWS", 5)
    monkeypatch.setattr(responses, "PARTITION_BYTES", 1)
    rows: list[Row | str] = [
        rated(f"Prompt {n}", f"Response {n}.{k}", k, k, k, k, k)
        for n in range(30)
        for k in range(3)
    ]
    expected = {
        (f"Prompt {n}", f"Response {n}.{high}", f"Response {n}.{low}", float(high), float(low))
        for n in range(30)
        for high, low in ((2, 1), (2, 0), (1, 0))
    }
    random.Random(0).shuffle(rows)
    found = pairs(read(tmp_path, rows, size=count))
    assert len(found) == 90
    assert expected == {
        (p.prompt[0].content, p.chosen, p.rejected, p.chosen_rating, p.rejected_rating)
        for p in found
    }
    assert not list(tmp_path.iterdir())


def test_a_rating_is_the_weighted_mean_of_the_attributes(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        rated("Why?", "So.", 4, 3, 4, 1, 2),
        rated("Why?", "No.", 1, 1, 1, 1, 4),
    ]
    weights = {"helpfulness": 3, "verbosity": -1}
    [found] = pairs(read(tmp_path, rows, attributes=weights))
    # (3 * 4 - 2) / 2 = 5 and (3 * 1 - 4) / 2 = -0.5
    assert (found.chosen_rating, found.rejected_rating) == (5.0, -0.5)


def test_ratings_that_are_equal_by_hand_are_a_tie(tmp_path: Path) -> None:
    # 0.1 * 3 is 0.30000000000000004 in binary, 0.3 * 1 is not.
    rows: list[Row | str] = [
        {"prompt": "Why?", "response": "So.", "a": 3, "b": 0},
        {"prompt": "Why?", "response": "No.", "a": 0, "b": 1},
    ]
    found = read(tmp_path, rows, format="ratings", attributes={"a": 0.1, "b": 0.3})
    assert reasons(found) == {"tie": 1}
    assert not pairs(found)


def test_what_gives_no_rated_pair_has_a_reason(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        rated("One?", "Alone.", 1, 1, 1, 1, 1),
        rated("Two?", "Unrated.", 1, 1, None, 1, 1),
        rated("Two?", "Rated.", 1, 1, 1, 1, 1),
        rated("Three?", "Odd.", 1, 1, "N/A", 1, 1),
        rated("Three?", None, 1, 1, 1, 1, 1),
        "broken_text",
    ]
    assert reasons(read(tmp_path, rows)) == {
        "single_response": 2,
        "missing_rating": 1,
        "rating_not_a_number": 1,
        "missing_response": 1,
        "broken_text": 1,
    }


def test_all_pairs_or_best_against_worst(tmp_path: Path) -> None:
    rows: list[Row | str] = [rated("Why?", f"{n}", n, n, n, n, n) for n in (2, 0, 1, 2)]
    everything = read(tmp_path, rows, comparisons="all")
    assert Counter((p.chosen, p.rejected) for p in pairs(everything)) == {
        ("2", "1"): 2,
        ("2", "0"): 2,
        ("1", "0"): 1,
    }
    assert reasons(everything) == {"tie": 1}
    [extremes] = pairs(read(tmp_path, rows, comparisons="best-worst"))
    assert (extremes.chosen, extremes.rejected) == ("2", "0")


def test_flattened_turns_and_lone_surrogates_in_ratings(tmp_path: Path) -> None:
    prompt = "Hello\n<extra_id_1>Assistant\nHello, how can I help?\n<extra_id_1>User\nWhy?"
    rows: list[Row | str] = [
        rated(prompt, "So. \ud800", 2, 2, 2, 2, 2),
        rated(prompt, "No.", 1, 1, 1, 1, 1),
    ]
    [found] = pairs(read(tmp_path, rows))
    assert found.prompt == (
        Message("user", "Hello"),
        Message("assistant", "Hello, how can I help?"),
        Message("user", "Why?"),
    )
    assert found.chosen == "So. \ud800"  # reward.pairs.quality counts it
