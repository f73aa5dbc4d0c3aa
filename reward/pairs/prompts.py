"""What was asked, read from all the columns that hold a part of it.

system    the system turn's text
history   earlier turns: a list of [question, answer], or whatever a conversation may be
prompt    a text or a conversation (reward.pairs.conversation)
input     what the task in `prompt` is about: it goes on in the same turn after a line break, as
          LLaMA-Factory joins the two columns of Alpaca's data
"""

from typing import Any

from reward.pairs.conversation import read_turns
from reward.pairs.nested import from_json
from reward.pairs.preference import Message, UnusableError
from reward.pairs.rows import Row


def read_prompt(row: Row) -> list[Message]:
    """The turns of a row's columns, named as above, but for the system turn (`with_system`), which
    may stand before turns that the answers hold; no turns where the row has none.

    Raises UnusableError with the column that does not hold what it should.
    """
    history = _history(row.get("history"))
    turns = read_turns(row["prompt"], "prompt") if "prompt" in row else []
    if turns and (more := _text(row, "input")) and not _holds(turns, more):
        last = turns[-1]
        text = f"{last.content}\n{more}" if last.content.strip() else more
        turns = [*turns[:-1], Message(last.role, text)]
    return [*history, *turns]


def with_system(row: Row, turns: list[Message]) -> list[Message]:
    """The turns after the system turn of a row's own column, if it has one.

    Raises UnusableError where the turns begin with another one.
    """
    system = _text(row, "system")
    if not system:
        return turns
    if turns and turns[0].role == "system":
        if turns[0].content.strip() != system.strip():
            raise UnusableError("prompts_differ", "system", system)
        return turns
    return [Message("system", system), *turns]


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if value is not None and not isinstance(value, str):
        raise UnusableError("wrong_type", column, value)
    return value if value and value.strip() else ""


def _holds(turns: list[Message], text: str) -> bool:
    # Some sets have the whole prompt in one column and its parts in others.
    return any(text.strip() in turn.content for turn in turns)


def _history(value: Any) -> list[Message]:
    value = from_json(value)
    if not value:
        return []
    if isinstance(value, list) and all(isinstance(turn, list) for turn in value):
        turns = []
        for exchange in value:
            if len(exchange) != 2 or not all(isinstance(text, str) for text in exchange):
                raise UnusableError("wrong_type", "history", exchange)
            turns += [Message("user", exchange[0]), Message("assistant", exchange[1])]
        return turns
    return read_turns(value, "history")
