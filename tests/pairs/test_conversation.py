"""reward.pairs.conversation: one conversation in its different spellings."""

from typing import Any

import pytest

from reward.pairs.conversation import read_turns, transcript_messages, unflatten
from reward.pairs.preference import Message, UnusableError

FLAT = "Hi\n<extra_id_1>Assistant\nHello!\n\n<extra_id_1>User\nWhy?\n "
TURNS = [Message("user", "Hi"), Message("assistant", "Hello!\n"), Message("user", "Why?\n ")]


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Why?", [Message("user", "Why?")]),
        (FLAT, TURNS),
        (FLAT + "\n<extra_id_1>Assistant\n", TURNS),
        (
            "<extra_id_0>System\nBe brief.\n<extra_id_1>User\nWhy?",
            [Message("system", "Be brief."), Message("user", "Why?")],
        ),
        (
            "What does <extra_id_1>User mean?",
            [Message("user", "What does <extra_id_1>User mean?")],
        ),
    ],
)
def test_flattened_turns_become_turns_again(text: str, turns: list[Message]) -> None:
    assert unflatten(text) == turns
    assert read_turns(text, "prompt") == turns


def test_flattened_turns_inside_of_messages() -> None:
    messages = [{"role": "user", "content": FLAT}, {"role": "assistant", "content": FLAT}]
    assert read_turns(messages, "chosen") == [*TURNS, Message("assistant", FLAT)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing_prompt"),
        (3, "wrong_type"),
        ([3], "wrong_type"),
        ([{"role": "user", "content": None}], "wrong_type"),
        ([], "empty_prompt"),
    ],
)
def test_what_is_no_conversation_has_a_reason(value: Any, reason: str) -> None:
    with pytest.raises(UnusableError) as caught:
        read_turns(value, "prompt")
    assert caught.value.reason == reason


def test_a_transcript_becomes_messages() -> None:
    assert transcript_messages(
        "\n\nHuman: Hi\n\nAssistant:\n\nHuman: Why?\nTell me.\n\nAssistant: So. "
    ) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Why?\nTell me."},
        {"role": "assistant", "content": "So."},
    ]
