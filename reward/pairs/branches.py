"""A conversation in which the assistant answers a turn several times, and goes on from one answer.

Kirk et al. 2024 (arXiv 2404.16019, PRISM) publish conversations so: one list of messages, in which
the answers to a turn follow each other, each with its score, and one of them is marked as the one
that the conversation went on with.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from reward.pairs.messages import role_and_text
from reward.pairs.nested import as_list
from reward.pairs.preference import Message, Preference, UnusableError, yes_or_no
from reward.pairs.prompts import with_system
from reward.pairs.rankings import comparisons
from reward.pairs.reading import Reading
from reward.pairs.responses import Response
from reward.pairs.rows import Row

FLAGS = ("if_chosen", "is_chosen", "chosen", "selected")
"""What marks the answer that the conversation went on with."""


def has_branches(messages: Any, score: str) -> bool:
    """Whether two messages of the assistant's follow each other, and such messages have scores."""
    read = [message for message in as_list(messages) or [] if isinstance(message, dict)]
    answers = [role_and_text(message, "messages")[0] == "assistant" for message in read]
    scored = any(
        is_answer and message.get(score) is not None
        for message, is_answer in zip(read, answers, strict=True)
    )
    return scored and any(one and other for one, other in pairwise(answers))


def read_branches(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pairs of the answers to each turn that has several. Raises UnusableError where the row
    has no messages, and where it is not known with which answer it goes on.
    """
    messages = as_list(row.get("messages"))
    if not messages:
        raise UnusableError("wrong_type" if row.get("messages") else "missing_messages", "messages")
    turns: list[Message] = with_system(row, [])
    answers: list[dict[str, Any]] = []
    most = 0
    for message in messages:
        role, text = role_and_text(message, "messages")
        if role == "assistant":
            answers.append(message | {"text": text})
            most = max(most, len(answers))
            continue
        if answers:
            yield from _compared(turns, answers, reading)
            turns = [*turns, Message("assistant", _continued(answers))]
            answers = []
        turns = [*turns, Message(role, text)]
    yield from _compared(turns, answers, reading)
    if most < 2:
        yield UnusableError("single_response")


def _compared(
    turns: list[Message], answers: list[dict[str, Any]], reading: Reading
) -> Iterator[Preference | UnusableError]:
    if len(answers) < 2:
        return  # a turn with one answer is a part of the conversation
    group = []
    for answer in answers:
        try:
            rated = reading.worth(answer.get(reading.items["score"]), "messages")
            group.append(Response(0, turns, answer["text"], rated))
        except UnusableError as problem:
            yield problem
    yield from (candidate.outcome for candidate in comparisons(group, reading.comparisons))


def _continued(answers: list[dict[str, Any]]) -> str:
    """The text of the only answer, or of the only one that is marked."""
    marked = [
        answer["text"]
        for answer in answers
        if len(answers) == 1 or any(yes_or_no(answer.get(flag)) is True for flag in FLAGS)
    ]
    if len(marked) != 1:
        raise UnusableError("branch_not_known", "messages")
    return str(marked[0])
