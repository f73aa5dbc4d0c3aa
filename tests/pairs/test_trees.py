"""reward.pairs.trees: ranked replies, wherever their rows are."""

from pathlib import Path
from typing import Any

from reward.pairs.preference import Message
from reward.pairs.rows import Row
from reward.pairs.trees import MOST_TURNS
from tests.support.candidates import pairs, read, reasons


def said(name: str, parent: str | None, role: str, rank: Any = None, text: str = "") -> Row:
    return {
        "message_id": name,
        "parent_id": parent,
        "role": role,
        "rank": rank,
        "text": text or name,
    }


def test_replies_are_compared_after_all_that_was_said(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        said("c", "b", "prompter"),
        said("worst", "c", "assistant", 2),
        said("best", "c", "assistant", 0.0),
        said("middle", "c", "assistant", "1"),
        said("unranked", "c", "assistant"),
        said("b", "a", "assistant", 0),  # alone
        said("a", None, "prompter"),
    ]
    found = read(tmp_path, rows)
    assert [(pair.chosen, pair.rejected) for pair in pairs(found)] == [
        *(("best", "middle"), ("best", "worst"), ("middle", "worst")),
    ]
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert {pair.prompt for pair in pairs(found)} == {turns}
    assert (pairs(found)[1].chosen_rating, pairs(found)[1].rejected_rating) == (0.0, -2.0)
    assert reasons(found) == {"single_response": 1}
    assert len(pairs(read(tmp_path, rows, comparisons="best-worst"))) == 1
    assert not list(tmp_path.iterdir())


def test_rows_of_a_tree_that_are_no_messages_have_a_reason(tmp_path: Path) -> None:
    circle: list[Row | str] = [
        said("x", "y", "assistant", 0),
        said("y", "x", "assistant", 0),
        said("z", "y", "assistant", 1),
    ]
    rows: list[Row | str] = [
        said("a", None, "prompter"),
        said("orphan", "gone", "assistant", 0),
        said("twin", "gone", "assistant", 1),
        said("odd", "a", "narrator", 0),
        said("bad", "a", "assistant", "first"),
        {"message_id": "no text", "parent_id": "a", "role": "assistant", "rank": 1},
        {**said("p", "a", "assistant", 1), "parent_id": 7},
        "broken_text",
        said("a", None, "prompter", text="Again?"),
        *circle,
    ]
    assert reasons(read(tmp_path, rows)) == {
        "missing_parent": 1,
        "unknown_role": 1,
        "rating_not_a_number": 1,
        "missing_text": 1,
        "wrong_type": 1,
        "broken_text": 1,
        "message_id_used_before": 1,
        "too_many_turns": 2,
    }


def test_a_chain_is_followed_to_its_bound(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        said(f"{n}", f"{n - 1}" if n else None, ("prompter", "assistant")[n % 2])
        for n in range(MOST_TURNS + 1)
    ]
    last: list[Row | str] = [
        said(f"{parent} {rank}", f"{parent}", "assistant", rank)
        for parent in (MOST_TURNS - 2, MOST_TURNS)
        for rank in (0, 1)
    ]
    found = read(tmp_path, [*rows, *last])
    assert [len(pair.prompt) for pair in pairs(found)] == [MOST_TURNS - 1]
    assert reasons(found) == {"too_many_turns": 1}
