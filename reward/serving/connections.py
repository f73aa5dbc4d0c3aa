"""Connections that are not kept open for clients that do not send, or do not fetch."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


class Connection(H11Protocol):
    """A connection that ends where nothing is owed to its client for some time, or not fetched.

    uvicorn's own limit (timeout_keep_alive) begins with an answer, and any byte that arrives ends
    it; so headers that never end, bodies that nobody reads and answers that are not fetched keep a
    connection for good. Here bytes do not count, only whole headers do: a new connection ends
    after `seconds`, one that has been in use after twice as many at the latest.
    """

    seconds: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at it."""
        super().connection_made(transport)
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._look.cancel()
        super().connection_lost(exc)

    @property
    def _state(self) -> tuple[bool, RequestResponseCycle | None]:
        """Whether the client has to do something, and its last request."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered or self.flow.write_paused, self.cycle

    def _look_later(self) -> None:
        self._look = self.loop.call_later(self.seconds, self._end_if_same, self._state)

    def _end_if_same(self, before: tuple[bool, RequestResponseCycle | None]) -> None:
        if self._state == before and before[0]:
            self.transport.abort()  # to close it would wait for what is not fetched
        else:
            self._look_later()


def connections(seconds: float) -> type[Connection]:
    """The class of connections that end after these seconds, as uvicorn takes it for `http`."""
    return type("Connection", (Connection,), {"seconds": seconds})
