"""reward.serving.questions: rows to be scored in their different spellings."""

from typing import Any

import pytest

from reward.pairs.preference import Message, UnusableError
from reward.serving.questions import (
    MANY,
    PAIR,
    SINGLE,
    Question,
    columns_for,
    columns_read,
    read_question,
)

HI = {"role": "user", "content": "Hi"}
HO = {"role": "assistant", "content": "Ho"}
HU = {"from": "gpt", "value": "Hu"}
ASKED = (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("row", "answers", "columns"),
    [
        ({"prompt": "Hi", "response": "Ho"}, ("Ho",), SINGLE),
        ({"prompt": [HI], "completion": [HO]}, ("Ho",), SINGLE),
        ({"prompt": '[{"role": "user", "content": "Hi"}]', "response": HO}, ("Ho",), SINGLE),
        ({"messages": [HI, HO]}, ("Ho",), SINGLE),
        ({"conversations": [{"from": "human", "value": "Hi"}, HU]}, ("Hu",), SINGLE),
        ({"messages": [HI], "response": "Ho"}, ("Ho",), SINGLE),
        ({"response": "\n\nHuman: Hi\n\nAssistant: Ho"}, ("Ho",), SINGLE),
        ({"prompt": "Hi", "response": None, "completion": "Ho", "messages": None}, ("Ho",), SINGLE),
        ({"prompt": "Hi", "responses": ["Ho", HU, [HO]]}, ("Ho", "Hu", "Ho"), MANY),
        ({"prompt": "Hi", "completions": [[HI, HO], "Hu"]}, ("Ho", "Hu"), MANY),
        ({"prompt": "Hi", "chosen": "Ho", "rejected": HU}, ("Ho", "Hu"), PAIR),
        ({"chosen": {"messages": [HI, HO]}, "rejected": [HI, HU]}, ("Ho", "Hu"), PAIR),
        (
            {"chosen": {"prompt": "Hi", "completion": "Ho"}, "rejected": {"messages": [HI, HU]}},
            ("Ho", "Hu"),
            PAIR,
        ),
        (
            {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": [HI, HU]},
            ("Ho", "Hu"),
            PAIR,
        ),
        (
            {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Ho", "rejected": "Hu"},
            ("Ho", "Hu"),
            PAIR,
        ),
        (
            {"prompt": "Hi", "chosen": "Ho", "rejected": "Hu", "chosen_rating": "bad"},
            ("Ho", "Hu"),
            PAIR,
        ),
    ],
)
def test_rows_in_their_spellings(
    row: dict[str, Any], answers: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    assert read_question(row) == Question(ASKED, answers, columns)
    # What a Parquet file is read for.
    needed = {name: row[name] for name in columns_read(columns) if name in row}
    assert read_question(needed) == Question(ASKED, answers, columns)
    assert columns_for([name for name, value in row.items() if value is not None]) == columns


def test_a_tool_asks_for_an_answer() -> None:
    row = {"prompt": [HI, {"role": "tool", "content": "18"}], "response": "Ho"}
    assert read_question(row).prompt == (*ASKED, Message("tool", "18"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": "Ho"}, "missing_prompt"),
        ({"chosen": "Ho", "rejected": "Hu"}, "missing_prompt"),
        ({"messages": [HI]}, "no_response"),
        ({"messages": [HO]}, "missing_prompt"),
        ({"messages": []}, "empty_response"),
        ({"prompt": "Hi", "messages": None}, "missing_response"),
        ({"prompt": "Hi", "responses": "Ho"}, "wrong_type"),
        ({"prompt": "Hi", "responses": ["Ho", [{"role": "user", "content": "Hu"}]]}, "no_response"),
        ({"prompt": "Why?", "response": [HI, HO]}, "prompts_differ"),
        ({"prompt": "\u200b", "response": "Ho"}, "empty_prompt"),
        ({"prompt": [HI, HO], "response": "Hu"}, "prompt_not_from_user"),
    ],
)
def test_a_row_that_cannot_be_scored_has_a_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableError) as caught:
        read_question(row)
    assert caught.value.reason == reason
