"""From a request's body to its rewards: read and tokenised in one thread, computed in another."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.scoring.groups import Group
from reward.serving.batch import CONTROL_TOKENS, REASON, How, as_columns, read_row
from reward.serving.counts import Counts
from reward.serving.limits import Limits, RefusedError
from reward.serving.model import RewardModel
from reward.serving.openrlhf import encode_queries, read_queries
from reward.serving.passes import Passes
from reward.serving.questions import MANY, PAIR, SINGLE, Question, columns_read

# What rewards may depend on.
READ = {name for columns in (SINGLE, MANY, PAIR) for name in columns_read(columns)}


class Asked(NamedTuple):
    """A row of a request as it goes through the model, and what is to be said of it besides."""

    question: Question
    group: Group
    reason: str | None


class Service:
    """Gives the rewards that a request's body asks for.

    A request waits for its turn at two places, the reader and the passes; cancelled there, it is
    dropped with all that it holds.
    """

    def __init__(self, model: RewardModel, how: How, limits: Limits) -> None:
        self._model, self._how, self._limits = model, how, limits
        self.counts = Counts()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._reading = asyncio.Lock()
        self._passes = Passes(model, self.counts, limits.merge_seconds)

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._passes.alive

    def close(self) -> None:
        """Answer what was taken, and end the threads."""
        self._reader.shutdown()
        self._passes.close()

    async def score(self, body: bytearray) -> Any:
        """The rewards of a row, or of each row of a list."""
        value = await self._read(self._parse, body)
        if isinstance(value, list):
            return await self._score(value)
        (answer,) = await self._score([value])
        if [*answer] == [REASON]:
            raise InputError(
                f"the row cannot be scored ({answer[REASON]}): send prompt and response, prompt "
                f"and responses, or chosen and rejected."
            )
        return answer

    async def _score(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """For each row its rewards, or the reason alone why it has none."""
        asked = await self._read(self._read_rows, rows)
        rewards = iter(await self._rewards([a.group for a in asked if isinstance(a, Asked)]))
        return [
            self._answered(one, next(rewards)) if isinstance(one, Asked) else {REASON: one.reason}
            for one in asked
        ]

    async def get_reward(self, body: bytearray) -> Any:
        """The rewards of OpenRLHF's queries."""
        if self._how.refuse_control_tokens:
            raise RefusedError(
                403,
                "queries are full of control tokens, which this server refuses: send rows to "
                "/score, or start it without --refuse-control-tokens.",
            )
        groups = await self._read(self._read_queries, body)
        found = await self._rewards(groups)
        if not np.isfinite(found).all():
            raise InputError("a reward is not finite: look at the model.")
        if self._how.normalise:
            found = [self._model.normalise(one) for one in found]
        rewards = [float(reward) for (reward,) in found]
        return {"rewards": rewards, "scores": rewards, "extra_logs": {}}

    async def _read(self, work: Callable[..., Any], *arguments: Any) -> Any:
        # An executor keeps what is cancelled in its queue until it comes to it, bodies and all. So
        # what waits does so here, until the thread is free, not only until its last request left.
        await self._reading.acquire()
        loop = asyncio.get_running_loop()
        running = self._reader.submit(work, *arguments)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._reading.release))
        return await asyncio.wrap_future(running)

    def _parse(self, body: bytearray) -> Any:
        value = _parse(body)
        rows = value if isinstance(value, list) else [value]
        self._check_texts(len(rows) + sum(map(_texts_within, rows)))
        return value

    def _check_texts(self, texts: int) -> None:
        """To be called before they are tokenised: a million of them takes a minute."""
        if texts > self._limits.texts:
            raise RefusedError(
                413,
                f"the request has {texts} rows, messages and answers, and {self._limits.texts} is "
                f"the limit: send it in parts.",
            )

    def _read_rows(self, rows: Sequence[Any]) -> list[Asked | UnusableError]:
        read = [
            read_row(
                self._model,
                row if isinstance(row, dict) else UnusableError("not_a_JSON_object"),
                self._how,
            )
            for row in rows
        ]
        groups = iter(self._model.groups([one for one in read if isinstance(one, Question)]))
        return [
            self._asked(one, next(groups)) if isinstance(one, Question) else one for one in read
        ]

    def _asked(self, question: Question, group: Group | UnusableError) -> Asked | UnusableError:
        if isinstance(group, UnusableError):
            return group
        holds = self._model.holds_control_tokens(question)
        return Asked(question, group, CONTROL_TOKENS if holds else None)

    def _answered(self, asked: Asked, rewards: np.ndarray) -> dict[str, Any]:
        found = as_columns(self._model, asked.question, rewards, self._how)
        if isinstance(found, UnusableError):
            return {REASON: found.reason}
        return found | ({REASON: asked.reason} if asked.reason else {})

    def _read_queries(self, body: bytearray) -> list[Group]:
        queries = read_queries(body)
        self._check_texts(len(queries.query))
        encoded = encode_queries(self._model.encoder, queries)
        return [self._model.group(one) for one in encoded]

    async def _rewards(self, groups: Sequence[Group]) -> list[np.ndarray]:
        """The rewards of each group, float64 (answers,)."""
        sequences = [sequence for group in groups for sequence in group.sequences]
        if not sequences:
            return []
        if (tokens := sum(map(len, sequences))) > self._limits.tokens:
            raise RefusedError(
                413,
                f"the model would read {tokens} tokens, and {self._limits.tokens} is the limit: "
                f"send it in parts.",
            )
        rewards = await asyncio.wrap_future(self._passes.ask(sequences))
        return np.split(rewards, np.cumsum([len(group.sequences) for group in groups])[:-1])


def _parse(body: bytearray) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the body is no JSON: send a row, or a list of rows.") from None


def _texts_within(row: Any) -> int:
    """The items of all lists that are read of a row, lists within lists too."""
    if not isinstance(row, dict):
        return 0
    count = 0
    left = [row[name] for name in READ if name in row]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            count += len(value)
            left += value
    return count
