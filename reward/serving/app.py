"""The server's HTTP side: rows come in, rewards or a reason go out."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.scoring.groups import Group
from reward.serving.batch import CONTROL_TOKENS, REASON, How, as_columns, read_row
from reward.serving.counts import Counts
from reward.serving.model import RewardModel
from reward.serving.openrlhf import encode_queries, read_queries
from reward.serving.passes import Passes
from reward.serving.questions import Question

RETRY_SECONDS = 1


class Limits(NamedTuple):
    """What a server takes upon itself."""

    requests: int
    """At once, taken and not answered; more are refused with 503."""
    seconds: float
    """For one request, reading included; then it ends with 504."""
    body_bytes: int
    """Of one request; a larger one is refused with 413."""
    tokens: int
    """Of one request as the model reads it: a pass that has begun is not stopped."""
    merge_seconds: float
    """That a request waits for others to be computed with."""


class RefusedError(Exception):
    """A request that is not answered: HTTP's status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Asked(NamedTuple):
    """A row of a request as it goes through the model, and what is to be said of it besides."""

    question: Question
    group: Group
    reason: str | None


class Service:
    """Answers requests: a thread reads and tokenises them, another one computes.

    Every request gets one answer, within its seconds. It waits for its turn at two places, and is
    dropped there without work where its time is over.
    """

    def __init__(self, model: RewardModel, how: How, limits: Limits) -> None:
        self._model, self._how, self._limits = model, how, limits
        self._taken = 0  # requests
        self.counts = Counts(lambda: self._taken)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._passes = Passes(model, self.counts, limits.merge_seconds)

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._passes.alive

    def close(self) -> None:
        """Answer what was taken, and end the threads."""
        self._reader.shutdown()
        self._passes.close()

    async def answer(
        self, request: Request, work: Callable[[bytes], Awaitable[Any]]
    ) -> JSONResponse:
        """What `work` makes of a request's body, or why there is nothing; counted."""
        began = time.monotonic()
        path, status = request.url.path, 500
        headers: dict[str, str] = {}
        try:
            async with asyncio.timeout(self._limits.seconds):
                content = await self._take(request, work)
            status = 200
        except TimeoutError:
            status, content = 504, f"no answer in {self._limits.seconds:g} seconds: send less."
        except RefusedError as refused:
            status, content = refused.status, str(refused)
            if status == 503:
                headers["Retry-After"] = str(RETRY_SECONDS)
        except InputError as error:
            status, content = 422, str(error)
        except ClientDisconnect:
            status, content = 499, "you have gone before the body ended."
        finally:
            self.counts.requests.labels(path, status).inc()
            self.counts.seconds.labels(path).observe(time.monotonic() - began)
        return JSONResponse(content if status == 200 else {"detail": content}, status, headers)

    async def _take(self, request: Request, work: Callable[[bytes], Awaitable[Any]]) -> Any:
        full = self._taken >= self._limits.requests
        self._taken += not full
        try:
            body = await _body(request, 0 if full else self._limits.body_bytes)
            if full:
                raise RefusedError(
                    503,
                    f"{self._limits.requests} requests are waiting, which is the limit: send it "
                    f"later.",
                )
            if body is None:
                raise RefusedError(
                    413,
                    f"the body has more than {self._limits.body_bytes} bytes: send it in parts.",
                )
            return await work(body)
        finally:
            self._taken -= not full

    async def score(self, body: bytes) -> Any:
        """The rewards of a row, or of each row of a list."""
        value = await self._read(_parse, body)
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

    async def get_reward(self, body: bytes) -> Any:
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
        return await asyncio.get_running_loop().run_in_executor(self._reader, work, *arguments)

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

    def _read_queries(self, body: bytes) -> list[Group]:
        encoded = encode_queries(self._model.encoder, read_queries(body))
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


def make_app(service: Service) -> FastAPI:
    """The paths of a service, which ends with the application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/score")
    async def score(request: Request) -> Response:
        return await service.answer(request, service.score)

    @app.post("/get_reward")
    async def get_reward(request: Request) -> Response:
        return await service.answer(request, service.get_reward)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.counts.text(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _body(request: Request, most: int) -> bytes | None:
    """A request's body, None where it has more than `most` bytes.

    It is read to its end all the same, as a client that still sends would miss the answer.
    """
    parts: list[bytes] = []
    left = most
    async for part in request.stream():
        left -= len(part)
        if left >= 0:
            parts.append(part)
    return b"".join(parts) if left >= 0 else None


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the body is no JSON: send a row, or a list of rows.") from None
