"""The server's HTTP side: requests are taken in within limits, and each gets one answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from reward.harness.errors import InputError
from reward.serving.limits import Limits, RefusedError
from reward.serving.service import Service

RETRY_SECONDS = 1

Work = Callable[[bytearray], Coroutine[Any, Any, Any]]


class Intake:
    """Takes requests in while there is room for them, and says why one is not answered.

    Every request gets one answer, within its seconds. Where its time is over or its client has
    gone, its work is cancelled.
    """

    def __init__(self, service: Service, limits: Limits) -> None:
        self._limits, self._counts = limits, service.counts
        self._taken = 0  # requests
        self._held = 0  # bytes of their bodies
        self._counts.waiting.set_function(lambda: self._taken)
        self._counts.held.set_function(lambda: self._held)

    async def answer(self, request: Request, work: Work) -> JSONResponse:
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
            status, content = 499, "you have gone before the answer."
        finally:
            self._counts.requests.labels(path, status).inc()
            self._counts.seconds.labels(path).observe(time.monotonic() - began)
        if status in (408, 504):  # of a body that is still under way, nothing more is read
            headers["Connection"] = "close"
        return JSONResponse(content if status == 200 else {"detail": content}, status, headers)

    async def _take(self, request: Request, work: Work) -> Any:
        refused = self._full()
        taken = refused is None
        self._taken += taken
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._limits.upload_seconds):
                    # To its end in any case: a client that still sends would miss the answer.
                    async for part in request.stream():
                        refused = refused or self._no_room(len(body), len(part))
                        if refused:
                            self._held -= len(body)
                            body.clear()
                        else:
                            self._held += len(part)
                            body += part
            except TimeoutError:
                raise RefusedError(
                    408,
                    f"the body did not end in {self._limits.upload_seconds:g} seconds: send it "
                    f"faster, or in parts.",
                ) from None
            if refused:
                raise refused
            return await _while_there(request, work(body))
        finally:
            self._held -= len(body)
            self._taken -= taken

    def _full(self) -> RefusedError | None:
        if self._taken < self._limits.requests:
            return None
        return RefusedError(
            503,
            f"{self._limits.requests} requests are waiting, which is the limit: send it later.",
        )

    def _no_room(self, own: int, more: int) -> RefusedError | None:
        """Why a body with `own` bytes so far cannot have `more`."""
        if own + more > self._limits.body_bytes:
            return RefusedError(
                413, f"the body has more than {self._limits.body_bytes} bytes: send it in parts."
            )
        if self._held + more > self._limits.held_bytes:
            return RefusedError(
                503,
                f"the requests that are waiting have {self._limits.held_bytes} bytes with this "
                f"one's, which is the limit: send it later.",
            )
        return None


def make_app(service: Service, limits: Limits) -> FastAPI:
    """The paths of a service, which ends with the application."""
    intake = Intake(service, limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/score")
    async def score(request: Request) -> Response:
        return await intake.answer(request, service.score)

    @app.post("/get_reward")
    async def get_reward(request: Request) -> Response:
        return await intake.answer(request, service.get_reward)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.counts.text(), media_type=CONTENT_TYPE_LATEST)

    return app


async def _while_there(request: Request, work: Awaitable[Any]) -> Any:
    """What work gives; where the client goes first, it is cancelled and ClientDisconnect raised."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
