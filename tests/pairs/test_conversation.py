"""reward.pairs.conversation: one conversation in its different spellings."""

import json
import time
from typing import Any

import pytest

from reward.pairs.conversation import (
    MOST_TURNS,
    read_answer,
    read_turns,
    unflatten,
)
from reward.pairs.preference import Message, UnusableError
from reward.pairs.transcripts import transcript_messages

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


ASKED = [Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "Why?")]
TALK = [*ASKED, Message("assistant", "So.")]
OPENAI = [turn._asdict() for turn in TALK]
SHAREGPT = [
    {"from": name, "value": turn.content}
    for name, turn in zip(("human", "gpt", "human", "gpt"), TALK, strict=True)
]
SPELLINGS = {
    "openai": OPENAI,
    "sharegpt": SHAREGPT,
    "speaker and text": [{"speaker": m["role"].title(), "text": m["content"]} for m in OPENAI],
    "speakers as keys": [{"user": "Hi"}, {"assistant": "Ho"}, {"user": "Why?"}, {"gpt": "So."}],
    "two turns an item": [{"user": "Hi", "assistant": "Ho"}, {"human": "Why?", "bot": "So."}],
    "a gap of Parquet": [message | {"from": None, "value": None} for message in OPENAI],
    "parts": [
        {"role": m["role"], "content": [{"type": "text", "text": m["content"]}]} for m in OPENAI
    ],
    "parts of a part": [
        {"role": m["role"], "content": [{"type": None, "text": m["content"][:1]}, m["content"][1:]]}
        for m in OPENAI
    ],
    "one part": [{"role": m["role"], "content": {"text": m["content"]}} for m in OPENAI],
    "Gemini": [
        {"role": {"assistant": "model"}.get(m["role"], "user"), "parts": [{"text": m["content"]}]}
        for m in OPENAI
    ],
    "messages": {"messages": OPENAI},
    "conversations": {"conversations": SHAREGPT, "id": 3},
    "prompt and completion": {"prompt": OPENAI[:3], "completion": OPENAI[3:]},
    "prompt and a text": {"prompt": OPENAI[:3], "completion": "So."},
    "columns": {
        "from": ["human", "gpt", "human", "gpt"],
        "value": [turn.content for turn in TALK],
    },
    "JSON": json.dumps(OPENAI),
    "JSON, indented": json.dumps(SHAREGPT, indent=1),
    "JSON of a record": json.dumps({"messages": OPENAI}),
    "a transcript": "\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant: So.",
    "no blank lines before": "Human: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant: So.",
    "in a list": ["\n\nHuman: Hi\n\nAssistant: Ho\n\nHuman: Why?\n\nAssistant: So."],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_one_conversation_in_every_spelling(spelling: Any) -> None:
    assert read_turns(spelling, "prompt") == TALK
    assert read_answer(spelling, "chosen") == (ASKED, "So.")


@pytest.mark.parametrize(
    "value",
    [
        "So.",
        ["So."],
        [{"role": "assistant", "content": "So."}],
        {"role": "assistant", "content": "So."},
        {"from": "gpt", "value": "So."},
        {"content": "So."},
        {"text": "So.", "policy": "p1"},
        {"assistant": "So."},
        '{"role": "assistant", "content": "So."}',
        '[{"from": "gpt", "value": "So."}]',
        "\n\nAssistant: So.",
    ],
)
def test_an_answer_alone(value: Any) -> None:
    assert read_answer(value, "chosen") == ([], "So.")


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "So."}',
        '{"from": "Paris", "value": "3"}',
        '[{"role": "baker", "content": "bread"}]',
        '{"user": "bob", "assistant": "ann"}',
        '{"messages": []}',
        '{"messages": 3}',
        '{"prompt": "a", "completion": "b"}',
        '[{"role": "user", "content": "Hi"}, 3]',
        '[{"role": "user", "content": "Hi"}',
        '[{"' * 50_000,
        '{"a": ' * 100_000 + "1" + "}" * 100_000,
        "Human: that is you.",
        "<extra_id_1>User\nHi",
        "[{'text': 'So.'}]",
    ],
)
def test_an_answer_that_looks_like_messages_is_a_text(text: str) -> None:
    assert read_answer(text, "chosen") == ([], text)


def test_roles_by_their_usual_names() -> None:
    names = ["SYSTEM", "Human", "chatgpt", "observation", "developer", "narrator"]
    turns = read_turns([{"from": name, "value": "x"} for name in names], "prompt")
    assert [turn.role for turn in turns] == [
        *("system", "user", "assistant", "tool", "system", "narrator")
    ]


CALLED = '<tool_call>\n{"name": "weather", "arguments": {"city": "Åre"}}\n</tool_call>'
FUNCTION = {"name": "weather", "arguments": {"city": "Åre"}}
INPUT = {"input": FUNCTION["arguments"]}
AS_TEXT = {"name": "weather", "arguments": '{"city":"Åre"}'}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "0", "function": FUNCTION}]},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": AS_TEXT}]},
        {"role": "assistant", "content": "", "tool_calls": [FUNCTION]},
        {"role": "assistant", "content": None, "function_call": AS_TEXT},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "0", "name": "weather"} | INPUT],
        },
        {"from": "function_call", "value": json.dumps(FUNCTION, ensure_ascii=False)},
    ],
)
def test_a_call_is_text_as_templates_write_it(message: Any) -> None:
    assert read_answer([message], "chosen") == ([], CALLED)
    other = json.loads(json.dumps(message, ensure_ascii=False).replace("Åre", "Lyon"))
    assert read_answer([other], "chosen") == ([], CALLED.replace("Åre", "Lyon"))


def test_calls_stand_after_the_text_and_what_the_tool_says_is_a_turn() -> None:
    messages = [
        {"role": "assistant", "content": "Wait.", "tool_calls": [FUNCTION, "look()"]},
        {"role": "tool", "content": {"degrees": 18}, "tool_call_id": "0"},
        {"role": "tool", "content": "rain"},
        {"role": "user", "content": [{"type": "tool_result", "content": "wind"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"text": "sun"}]}]},
    ]
    assert read_turns(messages, "prompt") == [
        Message("assistant", f"Wait.\n{CALLED}\n<tool_call>\nlook()\n</tool_call>"),
        Message("tool", '{"degrees": 18}'),
        Message("tool", "rain"),
        Message("tool", "wind"),
        Message("tool", "sun"),
    ]


def test_thoughts_beside_an_answer_are_part_of_it() -> None:
    message = {"role": "assistant", "content": "\nFour.", "reasoning_content": "\n2 + 2\n"}
    assert read_answer([message], "chosen") == ([], "<think>\n2 + 2\n</think>\n\nFour.")
    parts = [{"type": "thinking", "thinking": "2 + 2"}, {"type": "text", "text": "Four."}]
    assert read_answer([{"role": "assistant", "content": parts}], "chosen") == (
        [],
        "<think>\n2 + 2\n</think>\n\nFour.",
    )
    message["reasoning_content"] = " "
    assert read_answer([message], "chosen") == ([], "\nFour.")


def test_an_empty_turn_that_asks_for_the_answer_is_left_out_of_a_prompt() -> None:
    asking = [*OPENAI[:3], {"role": "assistant", "content": ""}]
    assert read_turns(asking, "prompt") == ASKED
    assert read_turns("\n\nHuman: Hi\n\nAssistant:", "prompt") == ASKED[:1]
    assert read_answer(asking, "chosen") == (ASKED, "")


IMAGE = {"type": "image_url", "image_url": {"url": "x"}, "text": None}


@pytest.mark.parametrize(
    ("value", "reason", "found"),
    [
        (None, "missing_prompt", None),
        (3, "wrong_type", 3),
        ([3], "wrong_type", 3),
        ([[OPENAI]], "wrong_type", [OPENAI]),
        ([{"role": "user", "content": None}], "message_without_text", ...),
        ([{"role": "user", "content": 3}], "message_without_text", ...),
        ([{"content": "Hi"}, {"content": "Ho"}], "message_without_role", {"content": "Hi"}),
        ([{"user": 3}], "message_without_role", {"user": 3}),
        (["Hi", "Ho"], "texts_without_roles", ["Hi", "Ho"]),
        ("[{'role': 'user', 'content': 'Hi'}]", "messages_as_python_text", ...),
        ([{"role": "user", "content": [{"text": "a"}, IMAGE]}], "image_in_message", "image_url"),
        ([{"role": "user", "content": [{"image": "x"}]}], "image_in_message", "image"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "part_without_text", "audio"),
        ([{"role": "user", "content": [3]}], "part_without_text", "int"),
        ([{"role": "user", "content": [{"type": "tool_result"}]}], "part_without_text", "NoneType"),
        ([{"role": "user", "content": "x"}] * (MOST_TURNS + 1), "too_many_turns", MOST_TURNS + 1),
        ([], "empty_prompt", None),
        ({"messages": []}, "empty_prompt", None),
    ],
)
def test_what_is_no_conversation_has_a_reason(value: Any, reason: str, found: Any) -> None:
    with pytest.raises(UnusableError) as caught:
        read_turns(value, "prompt")
    assert caught.value.reason == reason
    assert caught.value.column == "prompt"
    if found is not ...:
        assert caught.value.found == found


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing_chosen"),
        ([], "empty_response"),
        (3, "wrong_type"),
        (["Hi", "Ho"], "texts_without_roles"),
        (OPENAI[:3], "no_response"),
        ("\n\nHuman: Hi", "no_response"),
    ],
)
def test_what_is_no_answer_has_a_reason(value: Any, reason: str) -> None:
    with pytest.raises(UnusableError) as caught:
        read_answer(value, "chosen")
    assert (caught.value.reason, caught.value.column) == (reason, "chosen")


def test_text_that_looks_like_a_conversation_takes_linear_time() -> None:
    texts = ["\n\nHuman:" * 50_000, "<extra_id_1>User\n" * 50_000, '[{"a": [' * 100_000]
    started = time.process_time()
    for text in texts:
        try:
            read_turns(text, "prompt")
        except UnusableError as unusable:
            assert unusable.reason == "too_many_turns"  # noqa: PT017
    assert time.process_time() - started < 10


def test_a_transcript_becomes_messages() -> None:
    assert transcript_messages(
        "\n\nHuman: Hi\n\nAssistant:\n\nHuman: Why?\nTell me.\n\nAssistant: So. "
    ) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Why?\nTell me."},
        {"role": "assistant", "content": "So."},
    ]
