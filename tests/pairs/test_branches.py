"""reward.pairs.branches: several answers to a turn within one list of messages."""

from pathlib import Path
from typing import Any

import pytest

from reward.pairs.formats import Reader
from reward.pairs.preference import Message, Preference
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset
from tests.support.candidates import pairs, read, reasons

ASKED = (Message("user", "A river?"),)
GONE_ON = (*ASKED, Message("assistant", "The Loire."), Message("user", "And a sea?"))


def turn(role: str, text: str, score: Any = None, chosen: Any = None) -> dict[str, Any]:
    return {"role": role, "content": text, "score": score, "if_chosen": chosen}


HISTORY = [
    turn("user", "A river?"),
    turn("model", "The Volga.", 5, False),
    turn("model", "The Loire.", 60, True),
    turn("model", "The Rhine.", 90, False),
    turn("user", "And a sea?"),
    turn("model", "The Baltic.", 80, True),
    turn("model", "Mont Blanc.", 1, False),
]
FIRST = Preference(ASKED, "The Rhine.", "The Volga.", 90.0, 5.0)
SECOND = Preference(GONE_ON, "The Baltic.", "Mont Blanc.", 80.0, 1.0)


def test_answers_to_one_turn_are_compared_and_the_marked_one_goes_on(tmp_path: Path) -> None:
    row: Row = {"opening_prompt": "A river?", "conversation_history": HISTORY}
    reader = Reader(Dataset(source="x"), [[(1, row)]])
    assert (reader.format, reader.unread) == ("branches", ["opening_prompt"])
    assert reader.better == "of several answers to a turn the one with the higher score"
    assert pairs(read(tmp_path, [row])) == [FIRST, SECOND]
    every = pairs(read(tmp_path, [row], comparisons="all"))
    assert len(every) == 4
    swapped = pairs(read(tmp_path, [row], better="lower"))
    assert [(pair.chosen, pair.rejected) for pair in swapped] == [
        *(("The Volga.", "The Rhine."), ("Mont Blanc.", "The Baltic.")),
    ]


@pytest.mark.parametrize("marked", [(), (1, 2)])
def test_without_one_mark_the_next_turn_is_not_guessed(
    tmp_path: Path, marked: tuple[int, ...]
) -> None:
    history = [
        turn(one["role"], one["content"], one["score"], place in marked)
        for place, one in enumerate(HISTORY)
    ]
    found = read(tmp_path, [{"messages": history}])
    assert pairs(found) == [FIRST]
    assert reasons(found) == {"branch_not_known": 1}


def test_a_turn_with_one_answer_needs_no_mark_and_no_score(tmp_path: Path) -> None:
    history = [
        *(turn("user", "Hi"), turn("model", "Hello.")),
        *HISTORY[:2],
        *(turn("model", "?"), turn("model", "The Loire.", 60)),
    ]
    found = read(tmp_path, [{"messages": history}])
    [pair] = pairs(found)
    assert [one.content for one in pair.prompt] == ["Hi", "Hello.", "A river?"]
    assert (pair.chosen, pair.rejected) == ("The Loire.", "The Volga.")
    assert reasons(found) == {"missing_rating": 1}
    rest: Row = {"messages": history[:3]}
    assert reasons(read(tmp_path, [{"messages": history}, rest])) == {
        "missing_rating": 1,
        "single_response": 1,
    }


def test_an_ordinary_conversation_with_scores_has_no_branches() -> None:
    row: Row = {"messages": [turn("user", "Hi"), turn("assistant", "Hello.", 3)], "rejected": "?"}
    assert Reader(Dataset(source="x"), [[(1, row)]]).format == "pairs"
