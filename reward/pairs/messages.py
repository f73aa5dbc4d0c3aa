"""One message of a conversation, whatever its source calls it: who speaks, and the text.

A turn of a pair is a role and one text. What some sets keep beside that text is written into it, so
that answers which differ in it differ here as well, and every chat template can render it:

calls      each as `<tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call>` after the text,
           which is what the templates of Hermes 2 Pro and Qwen 2.5 make of `tool_calls`
thoughts   as `<think>\\n...\\n</think>\\n\\n` before it, what Qwen 3's makes of `reasoning_content`

What a tool gave back is a turn with the role tool; a template that has no such turns refuses it
(tokenize.refused in params.yaml says what becomes of the pair).
"""

import json
from typing import Any

from reward.pairs.preference import UnusableError

ROLES = ("role", "from", "speaker", "author", "sender")
CONTENTS = ("content", "value", "text", "parts", "refusal")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
CALLS = ("tool_calls", "function_call")

SPEAKERS = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),  # a turn that is the call
}
"""Who speaks, by what ShareGPT, OpenAssistant and others call them in small letters."""

TEXT_PARTS = (None, "text", "input_text", "output_text")
CALL_PART, THOUGHT_PART, RESULT_PART = "tool_use", "thinking", "tool_result"
"""Parts of a content in which Anthropic has calls, thoughts and, as the user's, their results."""


def known_role(name: str) -> str:
    """The role by its usual name; one that is not known stays as it is."""
    return SPEAKERS.get(name.strip().lower(), name)


def role_and_text(message: Any, column: str) -> tuple[str, str]:
    """Who speaks in a message of any known spelling, and what.

    Raises UnusableError with the column where there is none, or more than text.
    """
    if not isinstance(message, dict):
        raise UnusableError("wrong_type", column, message)
    name = first_of(message, ROLES)
    if not isinstance(name, str):
        raise UnusableError("message_without_role", column, message)
    role, calls, thought = known_role(name), _calls(message), first_of(message, THOUGHTS)
    content = first_of(message, CONTENTS)
    if isinstance(content, list) and any(isinstance(part, dict) for part in content):
        kinds = [part.get("type") if isinstance(part, dict) else None for part in content]
        by_kind = list(zip(kinds, content, strict=True))
        if {*kinds} == {RESULT_PART}:
            role = "tool"
            content = [inner for part in content for inner in _as_list(part.get("content"))]
        else:
            calls += [part for kind, part in by_kind if kind == CALL_PART]
            thought = next((p.get("thinking") for k, p in by_kind if k == THOUGHT_PART), thought)
            content = [p for k, p in by_kind if k not in (CALL_PART, THOUGHT_PART)]
    if content is None and not calls:
        raise UnusableError("message_without_text", column, message)
    text = "" if content is None else _text(content, role, column)
    written = [_call(call) for call in calls]
    if name.strip().lower() in ("function_call", "tool_call"):
        text = _call(text)
    if isinstance(thought, str) and thought.strip():
        text = f"<think>\n{thought.strip()}\n</think>\n\n{text.lstrip()}"
    return role, "\n".join(filter(None, (text, *written))) if calls else text


def first_of(message: dict[Any, Any], names: tuple[str, ...]) -> Any:
    """The first value under these names that is there and not null."""
    return next((message[name] for name in names if message.get(name) is not None), None)


def _text(content: Any, role: str, column: str) -> str:
    if isinstance(content, str):
        return content
    if role == "tool" and isinstance(content, dict):
        return _json(content)
    if isinstance(content, list | dict):
        return "".join(_part(part, column) for part in _as_list(content))
    raise UnusableError("message_without_text", column, content)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _part(part: Any, column: str) -> str:
    """The text of a part of a content. Parts follow one another as templates write them."""
    match part:
        case str():
            return part
        case {"text": str(text)} if part.get("type") in TEXT_PARTS:
            return text
        case dict():
            kind = str(part.get("type") or ", ".join(part))
        case _:
            kind = type(part).__name__
    raise UnusableError(
        "image_in_message" if "image" in kind else "part_without_text", column, kind
    )


def _calls(message: dict[Any, Any]) -> list[Any]:
    """The calls of tools beside a message's text; a text or record is one call."""
    calls = first_of(message, CALLS)
    return [*_as_list(calls)] if calls else []


def _call(call: Any) -> str:
    """A call as text. Its id is left out, by which nothing but the tool's turn is found."""
    if isinstance(call, str):
        call = _parsed(call)
    if isinstance(call, dict):
        call = call["function"] if isinstance(call.get("function"), dict) else call
        arguments = first_of(call, ("arguments", "input", "parameters"))
        if isinstance(call.get("name"), str) and arguments is not None:
            if isinstance(arguments, str):  # as OpenAI has them
                arguments = _parsed(arguments)
            call = {"name": call["name"], "arguments": arguments}
    return f"<tool_call>\n{call if isinstance(call, str) else _json(call)}\n</tool_call>"


def _parsed(text: str) -> Any:
    """The JSON object in a text, or the text itself where it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _json(value: Any) -> str:
    """As templates write it; times and bytes, which JSON has not, as Python does."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        raise UnusableError("nested_too_deeply", found=value) from None
