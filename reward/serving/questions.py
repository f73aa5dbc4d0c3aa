"""Rows to be scored: a prompt, and one answer to it, or a pair of them, or many.

pair          chosen and rejected, with or without prompt: see reward.pairs.readers.read_transcript
single        prompt and response.
best of n     prompt and responses, a list.

A prompt is a text or a list of messages {role, content}; an answer is a text or a list with the one
message of the assistant. A key whose value is null counts as missing.
"""

from typing import Any, NamedTuple

import numpy as np

from reward.pairs.conversation import read_turns
from reward.pairs.preference import Message, UnusableError
from reward.pairs.readers import read_transcript, spoken
from reward.pairs.rows import Row


class Question(NamedTuple):
    """A prompt and the answers whose rewards are asked for."""

    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    columns: tuple[str, ...]
    """What the rewards are called in the row: one name for each answer, or one for their list."""

    def as_columns(self, rewards: np.ndarray) -> dict[str, Any]:
        """The rewards, shape (answers,), as columns of the row."""
        values = rewards.tolist()
        return dict(zip(self.columns, [values] if self.columns == MANY else values, strict=True))


PAIR, SINGLE, MANY = ("chosen_score", "rejected_score"), ("score",), ("scores",)


def columns_read(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a row that its rewards depend on, by what these are called."""
    sides = {PAIR: ("chosen", "rejected"), SINGLE: ("response",), MANY: ("responses",)}
    return ("prompt", *sides[columns])


def columns_for(names: list[str]) -> tuple[str, ...]:
    """The columns for the rewards of rows with these columns; none where these cannot be scored."""
    if "responses" in names:
        return MANY
    if "response" in names:
        return SINGLE
    return PAIR if {"chosen", "rejected"} <= {*names} else ()


def read_question(row: Row) -> Question:
    """The prompt and answers of a row. Raises UnusableError with the reason where it has none."""
    columns = columns_for([name for name, value in row.items() if value is not None])
    if columns == PAIR:
        # Nothing else of the row is read: ratings of any kind do not hinder scoring.
        names = [name for name in columns_read(PAIR) if row.get(name) is not None]
        sides = {name: row[name] for name in names}
        pair = read_transcript(sides)
        question = Question(pair.prompt, (pair.chosen, pair.rejected), columns)
    elif columns:
        answers = row["responses"] if columns == MANY else [row["response"]]
        if not isinstance(answers, list):
            raise UnusableError("wrong_type")
        if not answers:
            raise UnusableError("missing_response")
        prompt = tuple(read_turns(spoken(row.get("prompt")), "prompt"))
        question = Question(prompt, tuple(_answer(value) for value in answers), columns)
    else:
        raise UnusableError("missing_response")
    _check(question)
    return question


def _answer(value: Any) -> str:
    match value:
        case str():
            return value
        case [{"role": "assistant", "content": str(content)}]:
            return content
    raise UnusableError("wrong_type")


def _check(question: Question) -> None:
    try:
        for text in (*(text for turn in question.prompt for text in turn), *question.answers):
            text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which a tokenizer cannot read
        raise UnusableError("broken_text") from None
    if not any(turn.content.strip() for turn in question.prompt):
        raise UnusableError("empty_prompt")
    if question.prompt[-1].role != "user":
        raise UnusableError("prompt_not_from_user")
