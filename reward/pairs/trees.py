"""Messages that have a row each and name the one that they reply to: replies that were ranked.

Köpf et al. 2023 (arXiv 2304.07327) publish OpenAssistant's conversations so: role is prompter or
assistant, parent_id is null for the first message, and of the replies to one message that were
compared each has a rank.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reward.pairs.preference import Message, UnusableError
from reward.pairs.reading import Candidate
from reward.pairs.responses import Response
from reward.pairs.rows import NumberedRow, Row

ROLES = {"prompter": "user", "user": "user", "assistant": "assistant", "system": "system"}
MOST_TURNS = 200
"""Of a conversation; a tree of untrusted rows may be a chain, or a circle."""


def replies(
    rows: Iterator[NumberedRow], scratch: Path, worth: Callable[[Any, str], float]
) -> Iterator[list[Response] | Candidate]:
    """The ranked replies to each message, and a reason for each row that cannot be read.

    rows: with the columns message_id, parent_id, role, text and rank. They need not be in order:
    a database in `scratch` holds them. worth: a number for a rank of which more is better.
    """
    with (
        TemporaryDirectory(dir=scratch) as folder,
        closing(sqlite3.connect(Path(folder) / "messages")) as messages,
    ):
        messages.execute("pragma synchronous = off")  # nothing that must outlive a crash
        messages.execute(
            "create table messages (id text primary key, parent text, role text, text blob, "
            "worth real, number integer)"
        )
        for number, row in rows:
            try:
                if isinstance(row, str):
                    raise UnusableError(row)
                values = (*_message(row, worth), number)
                new = messages.execute(
                    "insert or ignore into messages values (?, ?, ?, ?, ?, ?)", values
                )
                if new.rowcount == 0:
                    raise UnusableError("message_id_used_before", "message_id", row["message_id"])
            except UnusableError as unusable:
                yield Candidate(number, unusable)
        messages.execute("create index parents on messages (parent, number)")
        parents = messages.execute(
            "select parent, min(number) from messages where role = 'assistant' and worth is not "
            "null and parent is not null group by parent order by min(number)"
        )
        for parent, number in parents:
            try:
                prompt = _turns(messages, parent)
            except UnusableError as unusable:
                yield Candidate(number, unusable)
                continue
            yield [
                Response(place, prompt, _text(text), rank)
                for place, text, rank in messages.execute(
                    "select number, text, worth from messages where parent = ? and role = "
                    "'assistant' and worth is not null order by number",
                    (parent,),
                )
            ]


def _message(row: Row, worth: Callable[[Any, str], float]) -> tuple[Any, ...]:
    for column in ("message_id", "role", "text"):
        if not isinstance(row.get(column), str):
            kind = "wrong_type" if row.get(column) is not None else f"missing_{column}"
            raise UnusableError(kind, column, row.get(column))
    if (role := ROLES.get(row["role"])) is None:
        raise UnusableError("unknown_role", "role", row["role"])
    parent = row.get("parent_id") or None  # CSV files have an empty text for none
    if parent is not None and not isinstance(parent, str):
        raise UnusableError("wrong_type", "parent_id", parent)
    rank = None if row.get("rank") is None else worth(row["rank"], "rank")
    identity = json.dumps(row["message_id"])
    return identity, parent and json.dumps(parent), role, _bytes(row["text"]), rank


def _turns(messages: sqlite3.Connection, message: str) -> list[Message]:
    """A message and all before it. Raises UnusableError where one of them is not there."""
    turns: list[Message] = []
    place: str | None = message
    while place is not None:
        found = messages.execute(
            "select parent, role, text from messages where id = ?", (place,)
        ).fetchone()
        if found is None:
            raise UnusableError("missing_parent", "parent_id", place)
        if len(turns) == MOST_TURNS:
            raise UnusableError("too_many_turns", "parent_id")
        place, role, text = found
        turns.append(Message(role, _text(text)))
    return turns[::-1]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a lone surrogate is counted later


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")
