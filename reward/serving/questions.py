"""Rows to be scored: a prompt, and one answer to it, or a pair of them, or many.

pair          chosen and rejected, with or without prompt: see reward.pairs.readers.read_pair
single        prompt and response (or completion), or messages whose last one is the response
best of n     prompt and responses (or completions), a list

Prompts and answers are in any spelling that reward.pairs.conversation reads: texts, messages,
transcripts. Messages beside an answer take the prompt's place. A key whose value is null counts as
missing.
"""

from typing import Any, NamedTuple

import numpy as np

from reward.pairs.conversation import LISTS, read_answer, read_turns, same_turns
from reward.pairs.messages import first_of
from reward.pairs.preference import Message, UnusableError
from reward.pairs.quality import check_answerable, is_blank
from reward.pairs.readers import read_pair
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
PROMPTS = ("prompt", *LISTS)
ANSWERS: dict[tuple[str, ...], tuple[str, ...]] = {
    SINGLE: ("response", "completion"),
    MANY: ("responses", "completions"),
}


def columns_read(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a row that its rewards depend on, by what these are called."""
    return (*PROMPTS, *ANSWERS.get(columns, ("chosen", "rejected")))


def columns_for(names: list[str]) -> tuple[str, ...]:
    """The columns for the rewards of rows with these columns; none where these cannot be scored."""
    for columns in (MANY, SINGLE):
        if not {*names}.isdisjoint(ANSWERS[columns]):
            return columns
    if {"chosen", "rejected"} <= {*names}:
        return PAIR
    return () if {*names}.isdisjoint(LISTS) else SINGLE


def read_question(row: Row) -> Question:
    """The prompt and answers of a row. Raises UnusableError with the reason where it has none."""
    columns = columns_for([name for name, value in row.items() if value is not None])
    if not columns:
        raise UnusableError("missing_response")
    prompt = first_of(row, PROMPTS)
    if columns == PAIR:
        # Nothing else of the row is read: ratings of any kind do not hinder scoring.
        sides = {name: row[name] for name in ("chosen", "rejected")}
        pair = read_pair(sides if prompt is None else sides | {"prompt": prompt})
        question = Question(pair.prompt, (pair.chosen, pair.rejected), columns)
    else:
        answers = first_of(row, ANSWERS[columns])
        if answers is None:
            turns, answer = read_answer(first_of(row, LISTS), "messages")
            question = Question(tuple(turns), (answer,), columns)
        else:
            question = _answered(prompt, answers if columns == MANY else [answers], columns)
    _check(question)
    return question


def _answered(prompt: Any, answers: Any, columns: tuple[str, ...]) -> Question:
    """A prompt with its answers, each of which may hold the prompt's turns before it as well."""
    if not isinstance(answers, list):
        raise UnusableError("wrong_type", "responses", answers)
    if not answers:
        raise UnusableError("missing_response")
    read = [read_answer(answer, "response") for answer in answers]
    wholes = [turns for turns, _ in read if turns]
    asked = [read_turns(prompt, "prompt")] if prompt is not None or not wholes else []
    turns, *others = [*wholes, *asked]  # an answer's may be more than the prompt's
    if any(not same_turns(turns[-len(other) :], other) for other in others):
        raise UnusableError("prompts_differ")
    return Question(tuple(turns), tuple(answer for _, answer in read), columns)


def _check(question: Question) -> None:
    try:
        for text in (*(text for turn in question.prompt for text in turn), *question.answers):
            text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which a tokenizer cannot read
        raise UnusableError("broken_text") from None
    if not question.prompt:
        raise UnusableError("missing_prompt", "prompt")
    if all(is_blank(turn.content) for turn in question.prompt):
        raise UnusableError("empty_prompt", "prompt")
    check_answerable(question.prompt)
