"""What a server takes upon itself, and how it refuses the rest."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What a server takes upon itself."""

    requests: int
    """At once, taken and not answered; more are refused with 503."""
    seconds: float
    """For one request, its arrival included; then it ends with 504."""
    upload_seconds: float
    """For one request to arrive, from its headers to the body's end; then it ends with 408."""
    body_bytes: int
    """Of one request; a larger one is refused with 413."""
    held_bytes: int
    """Of the bodies of all requests that are taken and not answered; more are refused with 503."""
    texts: int
    """Rows of one request, with the messages and answers in them; more are refused with 413."""
    tokens: int
    """Of one request as the model reads it: a pass that has begun is not stopped."""
    merge_seconds: float
    """That a request waits for others to be computed with."""


class RefusedError(Exception):
    """A request that is not answered: HTTP's status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
