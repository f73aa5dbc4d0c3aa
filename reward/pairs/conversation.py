"""Conversations as public sets write them: texts, message lists, flattened turns, transcripts."""

import re
from typing import Any

from reward.pairs.preference import Message, UnusableError

# How NeMo's SteerLM data, and so HelpSteer2, flattens a conversation into one text.
FLAT_TURN = re.compile(r"(?:^|\n)<extra_id_[01]>(System|User|Assistant)(?:\n|$)")

# How hh-rlhf writes one (Bai et al. 2022, arXiv 2204.05862).
SPOKEN_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def read_turns(value: Any, column: str) -> list[Message]:
    """The turns of a text (one user turn, or several flattened ones) or of a message list.

    Raises UnusableError naming `column`, or "wrong_type", where there are none.
    """
    if value is None:
        raise UnusableError(f"missing_{column}")
    messages = [{"role": "user", "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list):
        raise UnusableError("wrong_type")
    turns = [turn for message in messages for turn in _turns(message)]
    if not turns:
        raise UnusableError("empty_prompt" if column == "prompt" else "empty_response")
    return turns


def _turns(message: Any) -> list[Message]:
    match message:
        case {"role": "user", "content": str(content)}:
            return unflatten(content)
        case {"role": str(role), "content": str(content)}:
            return [Message(role, content)]
    raise UnusableError("wrong_type")


def unflatten(text: str) -> list[Message]:
    """The turns of a user's text in which `<extra_id_1>User` and `<extra_id_1>Assistant` lines
    stand between them; a text without such lines is one turn.
    """
    first, *marked = FLAT_TURN.split(text)
    turns = [
        Message(role.lower(), content)
        for role, content in zip(marked[::2], marked[1::2], strict=True)
    ]
    if turns and turns[-1] == Message("assistant", ""):
        turns.pop()  # the marker that asks for the answer
    return turns if turns and not first.strip() else [Message("user", first), *turns]


def is_transcript(text: str) -> bool:
    """Whether a text begins as a transcript does."""
    return text.startswith(("\n\nHuman:", "Human:"))


def transcript_messages(text: str) -> list[dict[str, str]]:
    """The messages of a text `\\n\\nHuman: ...\\n\\nAssistant: ...`, stripped.

    Raises UnusableError "not_a_transcript" where something stands before the first speaker.
    """
    first, *spoken = SPOKEN_TURN.split(text)
    if first.strip() or not spoken:
        raise UnusableError("not_a_transcript")
    return [
        {"role": SPEAKERS[speaker], "content": content.strip()}
        for speaker, content in zip(spoken[::2], spoken[1::2], strict=True)
    ]


def same_turns(these: list[Message], those: list[Message]) -> bool:
    """Whether two conversations differ by no more than white space around their turns."""
    return [(turn.role, turn.content.strip()) for turn in these] == [
        (turn.role, turn.content.strip()) for turn in those
    ]
