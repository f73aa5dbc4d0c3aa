"""Answers of a row, each with the conversation that it ends, and two of them made a pair."""

from typing import Any, NamedTuple

from reward.pairs.conversation import read_answer
from reward.pairs.nested import from_json
from reward.pairs.preference import Message, Preference, UnusableError

MOST_PAIRS = 10_000
"""That the answers of one row may make."""


class Answer(NamedTuple):
    """An answer's text and the turns before it; none where the answer stands by itself."""

    turns: list[Message]
    text: str


def read_answers(value: Any, column: str) -> list[Answer]:
    """The answers in a column: one (reward.pairs.conversation.read_answer), or a list of several.

    Raises UnusableError with the column where there is none.
    """
    if isinstance(value, list) and value and isinstance(value[0], str | list):
        return [Answer(*read_answer(one, column)) for one in value]
    return [Answer(*read_answer(value, column))]


def read_one_answer(value: Any, column: str) -> Answer:
    """The only answer in a column. Raises UnusableError where there are several or none."""
    answers = read_answers(value, column)
    if len(answers) > 1:
        raise UnusableError("several_answers", column, value)
    return answers[0]


def is_turn_list(value: Any) -> bool:
    """Whether a value is a list of texts, or the JSON of one; some may be missing.

    So the sets of Chatbot Arena keep conversations: a list of all that was asked, and a list of
    all answers of each side.
    """
    texts = from_json(value)
    return (
        isinstance(texts, list)
        and bool(texts)
        and all(text is None or isinstance(text, str) for text in texts)
    )


def read_exchange(prompt: Any, value: Any, column: str) -> Answer:
    """The last of the answers to each of the user's texts, after all turns before it.

    prompt, value: turn lists. Raises UnusableError where the answers are none, or one is missing.
    """
    if value is None:
        raise UnusableError(f"missing_{column}", column)
    asked, texts = from_json(prompt), from_json(value)
    if not is_turn_list(texts) or len(texts) != len(asked):
        raise UnusableError("turns_and_prompts_differ", column, value)
    if None in asked:
        raise UnusableError("missing_prompt", "prompt", prompt)
    if None in texts:
        raise UnusableError("missing_response", column, value)
    turns = [
        Message(role, text)
        for exchange in zip(asked, texts, strict=True)
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return Answer(turns[:-1], texts[-1])


def after_prompt(answer: Answer, prompt: list[Message], column: str) -> Answer:
    """An answer with all that was said before it.

    The answer's own conversation may repeat the prompt, have more before it (a system turn), or
    begin in it or after it. Raises UnusableError where the two do not fit.
    """
    if not answer.turns:
        return Answer(prompt, answer.text)
    if not prompt or answer.turns[-len(prompt) :] == prompt:  # by far the most
        return answer
    turns, own = _bare(prompt), _bare(answer.turns)
    if _has(own, turns):
        return answer
    if turns[-len(own) :] == own:
        return Answer(prompt, answer.text)
    if answer.turns[0].role == "assistant":
        return Answer([*prompt, *answer.turns], answer.text)
    raise UnusableError("prompts_differ", column, answer.turns[0].content)


def up_to_turn(answer: Answer, turn: float) -> Answer:
    """The answer that was given to the user's turn number `turn`, from 1; later ones are cut off.

    MT-bench's judgements have both turns in each row and say which of them was judged.
    """
    asked = 0
    for place, message in enumerate(answer.turns):
        if message.role == "user":
            asked += 1
        elif message.role == "assistant" and asked == turn:
            return Answer(answer.turns[:place], message.content)
    return answer


def compare(
    better: Answer,
    worse: Answer,
    better_rating: float | None = None,
    worse_rating: float | None = None,
) -> Preference:
    """The pair of two answers; its prompt is what was said before the better one.

    Raises UnusableError where the two answer different questions. Where only what the assistant
    said before differs, as in two conversations of several turns, the pair is marked.
    """
    if not better.turns:
        raise UnusableError("missing_prompt", "prompt")
    differ = better.turns != worse.turns and _bare(better.turns) != _bare(worse.turns)
    if differ and _asked(better.turns) != _asked(worse.turns):
        raise UnusableError("prompts_differ")
    return Preference(
        tuple(better.turns), better.text, worse.text, better_rating, worse_rating, differ
    )


def paired(
    better: Answer, worse: Answer, better_rating: float | None, worse_rating: float | None
) -> Preference | UnusableError:
    """The pair of two answers, or why they make none."""
    try:
        return compare(better, worse, better_rating, worse_rating)
    except UnusableError as unusable:
        return unusable


def _bare(turns: list[Message]) -> list[tuple[str, str]]:
    """Turns without differences of white space."""
    return [(turn.role, " ".join(turn.content.split())) for turn in turns]


def _asked(turns: list[Message]) -> list[tuple[str, str]]:
    return [turn for turn in _bare(turns) if turn[0] != "assistant"]


def _has(turns: list[tuple[str, str]], part: list[tuple[str, str]]) -> bool:
    """Whether some turns are a part of others, the end of it above all."""
    if turns[-len(part) :] == part:
        return True
    first = part[0]
    places = [place for place, turn in enumerate(turns) if turn == first][:8]
    return any(turns[place : place + len(part)] == part for place in places)
