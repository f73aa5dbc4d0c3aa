"""One reader of conversations in the many spellings that public sets have for them.

text       one turn, or several: flattened (`<extra_id_1>User` on a line of its own), a transcript
           (`\\n\\nHuman: ... \\n\\nAssistant: ...`), or messages as JSON text (CSV files)
messages   a list of {role, content} (OpenAI), {from, value} (ShareGPT), {speaker, text} or
           {user: ...}, {assistant: ...}; a content may be a list of parts of text
record     {messages: [...]}, {conversations: [...]}, {prompt, completion}, one message alone, or
           {role: [...], content: [...]}, which is how `datasets` keeps a list of messages

What is not read, and why, is the reason of an UnusableError. Calls of tools and the thoughts before
an answer stand beside its text in some sets; they become part of it (reward.pairs.messages).
"""

import json
import re
from typing import Any

from reward.pairs.messages import (
    CALLS,
    CONTENTS,
    ROLES,
    SPEAKERS,
    first_of,
    known_role,
    role_and_text,
)
from reward.pairs.preference import Message, UnusableError
from reward.pairs.transcripts import asking_messages, transcript_messages

# How NeMo's SteerLM data, and so HelpSteer2, flattens a conversation into one text.
FLAT_TURN = re.compile(r"(?:^|\n)<extra_id_[01]>(System|User|Assistant)(?:\n|$)")

# How JSON text begins that may hold a message, and how Python writes a list of them.
JSON_MESSAGE = re.compile(r'\s*(?:\[\s*)?\{\s*"')
PYTHON_MESSAGE = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)'\s*:\s*['\"]")

LISTS = ("messages", "conversations", "conversation")
"""What records call their list of messages."""
ANSWERS = ("completion", "response")
BARE = ("response", "answer", "completion", "output", "generation")
"""What a record that has no speaker calls its only text."""
BY_NAME = {"system", "user", "human", "assistant", "gpt", "bot"}
"""The keys of messages that are {speaker: text}."""

MOST_TURNS = 10_000
"""Of a conversation: chat templates may take time that grows with the square of them."""


def read_turns(value: Any, column: str) -> list[Message]:
    """The turns of a prompt or a whole conversation; a text without marks is the user's.

    A turn of the assistant's without text at the end of a prompt only asks for the answer, and is
    left out. Raises UnusableError with the column where there are no turns.
    """
    if isinstance(value, dict) and (text := _bare_text(value)) is not None:
        value = text
    turns = _spelled(value, column)
    if turns is None:
        turns = unflatten(_only(value, column))
    if column == "prompt" and len(turns) > 1 and turns[-1] == Message("assistant", ""):
        turns.pop()
    return _within_bounds(turns, column)


def read_answer(value: Any, column: str) -> tuple[list[Message], str]:
    """What stands before an answer, nothing in most sets, and its text.

    A text without marks is the answer; of a conversation the last turn is, which must be the
    assistant's. Raises UnusableError with the column where there is no answer.
    """
    if isinstance(value, dict) and (text := _bare_text(value)) is not None:
        return [], text
    turns = _spelled(value, column)
    if turns is None:
        return [], _only(value, column)
    *before, answer = _within_bounds(turns, column)
    if answer.role != "assistant":
        raise UnusableError("no_response", column, answer.role)
    return before, answer.content


def _within_bounds(turns: list[Message], column: str) -> list[Message]:
    if not turns:
        raise UnusableError("empty_prompt" if column == "prompt" else "empty_response", column)
    if len(turns) > MOST_TURNS:
        raise UnusableError("too_many_turns", column, len(turns))
    return turns


def _bare_text(value: dict[Any, Any]) -> str | None:
    """The text of a record that has nothing but a text: whose it is, its column says."""
    if any(isinstance(value.get(name), str) for name in ROLES):
        return None
    if any(isinstance(value.get(name), list) for name in LISTS) or "prompt" in value:
        return None
    texts = [value[name] for name in (*CONTENTS, *BARE) if isinstance(value.get(name), str)]
    return texts[0] if len(texts) == 1 else None


def _only(value: Any, column: str) -> Any:
    """The text of a list with one text in it, anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        if len(value) > 1:
            raise UnusableError("texts_without_roles", column, value)
        return value[0]
    return value


def _spelled(value: Any, column: str) -> list[Message] | None:
    """The turns of a conversation; None for a text that is one turn, or flattened ones."""
    if value is None:
        raise UnusableError(f"missing_{column}", column)
    value = _only(value, column)
    if isinstance(value, str):
        value = _in_text(value, column)
        if value is None:
            return None
    if isinstance(value, dict):
        value = _in_record(value)
    if not isinstance(value, list):
        raise UnusableError("wrong_type", column, value)
    return [turn for message in value for turn in _turns(message, column)]


def _turns(message: Any, column: str) -> list[Message]:
    match message:
        case {"role": "user", "content": str(content)}:  # by far the most
            return unflatten(content)
        case {"role": "assistant", "content": str(content)} if len(message) == 2:
            return [Message("assistant", content)]
        case dict() if message and {*map(str.lower, map(str, message))} <= BY_NAME:
            said = {name: text for name, text in message.items() if text is not None}
            if all(isinstance(text, str) for text in said.values()):
                return [Message(known_role(name), text) for name, text in said.items()]
    role, text = role_and_text(message, column)
    return unflatten(text) if role == "user" else [Message(role, text)]


def _in_record(record: dict[Any, Any]) -> list[Any]:
    """The messages of a record, or the record itself as the only one."""
    for name in LISTS:
        if isinstance(record.get(name), list):
            return list(record[name])
    prompt = record.get("prompt")
    answer = next((record[name] for name in ANSWERS if record.get(name) is not None), None)
    if prompt is not None and answer is not None:
        return [*_as_messages(prompt, "user"), *_as_messages(answer, "assistant")]
    roles, contents = (first_of(record, names) for names in (ROLES, CONTENTS))
    if isinstance(roles, list) and isinstance(contents, list) and len(roles) == len(contents):
        pairs = zip(roles, contents, strict=True)
        return [{"role": role, "content": content} for role, content in pairs]
    return [record]


def _as_messages(value: Any, role: str) -> list[Any]:
    return value if isinstance(value, list) else [{"role": role, "content": value}]


def _in_text(text: str, column: str) -> list[Any] | None:
    """The messages that a text holds as a transcript or as JSON; None where it holds none."""
    if text.startswith(("\n\nHuman:", "\n\nAssistant:")) or (
        text.startswith("Human:") and "\n\nAssistant:" in text
    ):
        messages: list[Any] | None = transcript_messages(text)
        if messages is None:
            raise UnusableError("not_a_transcript", column, text)
        return messages
    if column == "prompt" and (asked := asking_messages(text)):
        return asked
    if PYTHON_MESSAGE.match(text):
        raise UnusableError("messages_as_python_text", column, text)
    if not JSON_MESSAGE.match(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # a text that looks like it
    if isinstance(value, dict):
        value = first_of(value, LISTS) or [value]
    # An answer may well be JSON; only messages of known speakers are taken for a conversation.
    return value if isinstance(value, list) and value and all(map(_is_message, value)) else None


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    speakers = [value[name] for name in ROLES if isinstance(value.get(name), str)]
    texts = [name for name in (*CONTENTS, *CALLS) if name in value]
    return len(speakers) == 1 and known_role(speakers[0]) in SPEAKERS.values() and bool(texts)


def unflatten(text: str) -> list[Message]:
    """The turns of a user's text in which `<extra_id_1>User` and `<extra_id_1>Assistant` lines
    stand between them; a text without such lines is one turn.
    """
    if "<extra_id_" not in text:  # soon told, unlike by the pattern
        return [Message("user", text)]
    first, *marked = FLAT_TURN.split(text)
    turns = [
        Message(role.lower(), content)
        for role, content in zip(marked[::2], marked[1::2], strict=True)
    ]
    if turns and turns[-1] == Message("assistant", ""):
        turns.pop()  # the marker that asks for the answer
    return turns if turns and not first.strip() else [Message("user", first), *turns]


def same_turns(these: list[Message], those: list[Message]) -> bool:
    """Whether two conversations differ by no more than white space around their turns."""
    return [(turn.role, turn.content.strip()) for turn in these] == [
        (turn.role, turn.content.strip()) for turn in those
    ]
