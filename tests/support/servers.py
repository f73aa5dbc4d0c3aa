"""A server in a process of its own, and many requests to it at once."""

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.commands import start

# A connection for each request, so that all of them are there at once; nobody waits for ever.
LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
SECONDS = 300


class Server:
    """A running `python -m reward.serve`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=SECONDS)

    def post(self, path: str, body: Any) -> httpx2.Response:
        return httpx2.post(self.url + path, json=body, timeout=SECONDS)

    def metric(self, name: str) -> float:
        """The value of a measure, as /metrics has its name and labels."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def end(self) -> tuple[int, str]:
        """Send SIGTERM; the exit status and what was written to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said


@contextmanager
def serving(model: Path, *options: str) -> Iterator[Server]:
    """A server of a model's folder at a free port; it is killed if it has not ended."""
    words = ["-m", "reward.serve", str(model), "--port", "0", *options]
    with start(words, Path.cwd(), stdout=subprocess.DEVNULL) as process:
        try:
            assert process.stderr
            line = process.stderr.readline()
            found = re.search(r"at (http://127\.0\.0\.1:\d+)$", line)
            assert found, line + process.stderr.read()
            yield Server(process, found[1])
        finally:
            process.kill()


async def at_once(server: Server, path: str, bodies: Sequence[Any]) -> list[httpx2.Response]:
    """The answers to many requests that are sent together, in the order of the bodies."""
    async with httpx2.AsyncClient(limits=LIMITS, timeout=SECONDS) as client:
        posts = (client.post(server.url + path, json=body) for body in bodies)
        return await asyncio.gather(*posts)
