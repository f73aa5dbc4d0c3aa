"""Clients that leave, send slowly, do not fetch or ask too much, over real connections."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest

from tests.support.models import make_model
from tests.support.servers import SECONDS, Server, serving

ROW = {"prompt": "Name a number.", "response": "Seven."}
UPLOAD_SECONDS = 3.0
MERGE_SECONDS = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """One that holds two of the largest bodies, and in which requests wait to be merged."""
    options = (
        *("--most-upload-seconds", str(UPLOAD_SECONDS)),
        *("--merge-milliseconds", str(MERGE_SECONDS * 1000)),
        *("--most-megabytes", "1", "--most-held-megabytes", "2", "--most-texts", "50"),
    )
    with serving(folder, *options) as running:
        yield running


def connect(server: Server) -> socket.socket:
    url = httpx2.URL(server.url)
    return socket.create_connection((url.host, url.port or 80), timeout=SECONDS)


def head(length: int) -> bytes:
    return f"POST /score HTTP/1.1\r\nHost: server\r\nContent-Length: {length}\r\n\r\n".encode()


def request(row: object) -> bytes:
    body = json.dumps(row).encode()
    return head(len(body)) + body


def to_the_end(connection: socket.socket) -> bytes:
    """All that the server sends until it closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def seconds_until_closed(connection: socket.socket) -> float:
    """How long the server takes bytes, one now and then, of somebody who reads nothing."""
    began = time.monotonic()
    with suppress(ConnectionError):
        while time.monotonic() < began + SECONDS:
            connection.sendall(b" ")
            time.sleep(UPLOAD_SECONDS / 5)
    return time.monotonic() - began


def until(server: Server, measure: str, value: float) -> None:
    deadline = time.monotonic() + SECONDS
    while server.metric(measure) != value:
        assert time.monotonic() < deadline, f"{measure} is {server.metric(measure)}"
        time.sleep(0.02)


def test_what_its_client_has_left_is_not_computed(server: Server) -> None:
    names = ("reward_responses_total", 'reward_tokens_total{what="asked"}')
    gone = 'reward_requests_total{path="/score",status="499"}'
    before = [server.metric(name) for name in names]
    left = [connect(server) for _ in range(5)]
    for n, connection in enumerate(left):
        connection.sendall(request(ROW | {"response": f"It is {n}. " * 9}))
    until(server, "reward_waiting_requests", 5)
    for connection in left:
        connection.close()
    until(server, gone, 5)
    assert server.metric("reward_waiting_requests") == 0
    assert server.metric("reward_held_bytes") == 0
    # In the same pass as they would have been, there is this one alone.
    assert server.post("/score", ROW).status_code == 200
    responses, tokens = (server.metric(name) for name in names)
    assert responses == before[0] + 1
    asked = tokens - before[1]
    assert server.post("/score", ROW).status_code == 200
    assert server.metric(names[1]) == tokens + asked


def test_a_body_that_comes_slowly_is_refused_and_its_room_is_free(server: Server) -> None:
    with closing(connect(server)) as slow:
        began = time.monotonic()
        slow.sendall(head(100) + b"{")
        slow.settimeout(UPLOAD_SECONDS / 5)
        answer = b""
        while not answer:  # a byte now and then: the connection is never silent
            assert time.monotonic() < began + SECONDS
            try:
                answer = slow.recv(1 << 16)
            except TimeoutError:
                slow.sendall(b" ")
        assert time.monotonic() - began < SECONDS / 2
        slow.settimeout(SECONDS)
        answer += to_the_end(slow)  # head and body may come apart
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"the body did not end in %d seconds" % UPLOAD_SECONDS in answer
    assert server.metric("reward_waiting_requests") == 0
    assert server.metric("reward_held_bytes") == 0


def test_bodies_at_once_have_a_limit_and_a_refused_one_leaves_room(server: Server) -> None:
    large = b" " * 900_000
    slow = [connect(server) for _ in range(2)]
    for connection in slow:
        connection.sendall(head(1_000_000) + large)
    until(server, "reward_held_bytes", 2 * len(large))
    third = ROW | {"prompt": "x" * 300_000}
    refused = server.post("/score", third)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert "have 2000000 bytes with this one's" in refused.json()["detail"]
    assert server.metric("reward_held_bytes") == 2 * len(large)
    for connection in slow:
        connection.close()
    until(server, "reward_held_bytes", 0)
    assert server.post("/score", third).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: server\r\n"])
def test_headers_that_do_not_end_close_the_connection(server: Server, sent: bytes) -> None:
    began = time.monotonic()
    with closing(connect(server)) as slow:
        slow.settimeout(UPLOAD_SECONDS / 5)
        slow.sendall(sent)
        ended = False
        while not ended:
            assert time.monotonic() < began + SECONDS
            try:
                ended = not slow.recv(1)
            except TimeoutError:
                if sent:
                    slow.sendall(b"X: y\r\n")
            except OSError:
                ended = True
    assert UPLOAD_SECONDS / 2 < time.monotonic() - began < SECONDS / 2


def test_a_body_that_nobody_reads_does_not_keep_the_connection(server: Server) -> None:
    with closing(connect(server)) as slow:
        slow.sendall(head(1000).replace(b"/score", b"/nowhere"))
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 404 ")
        assert seconds_until_closed(slow) < SECONDS / 2


def test_answers_that_nobody_fetches_do_not_keep_the_connection(server: Server) -> None:
    url = httpx2.URL(server.url)
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((url.host, url.port))
        # More answers than the system's buffers hold.
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: server\r\n\r\n" * 2000)
        assert seconds_until_closed(slow) < SECONDS / 2


def test_a_connection_goes_on_after_an_error_and_answers_in_turn(server: Server) -> None:
    with closing(connect(server)) as connection:
        connection.sendall(head(1) + b"{" + request(ROW) + head(1) + b"[")
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3:
            part = connection.recv(1 << 16)
            assert part
            answers += part
    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"422", b"200", b"422"]


@pytest.mark.parametrize(
    ("path", "body", "texts"),
    [
        ("/score", {"prompt": "x", "responses": [""] * 60}, 61),
        ("/score", [{}] * 60, 60),
        ("/score", {"messages": [{"role": "user", "content": "x"}] * 60}, 61),
        ("/score", {"prompt": "x", "responses": [[{}] * 30, [{}] * 30]}, 63),
        ("/get_reward", {"query": ["x"] * 60}, 60),
    ],
)
def test_texts_are_counted_before_they_are_read(
    server: Server, path: str, body: object, texts: int
) -> None:
    refused = server.post(path, body)
    assert refused.status_code == 413
    assert refused.json()["detail"] == (
        f"the request has {texts} rows, messages and answers, and 50 is the limit: send it in "
        f"parts."
    )


def test_what_is_not_read_of_a_row_is_not_counted(server: Server) -> None:
    assert server.post("/score", ROW | {"token_ids": [0] * 60}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "status", "said"),
    [
        ([signal.SIGTERM, signal.SIGTERM], 0, ""),
        ([signal.SIGINT], 130, "serve: interrupted\n"),
    ],
)
def test_signals_under_load(
    folder: Path, signals: list[signal.Signals], status: int, said: str
) -> None:
    """What waits is answered, and who sends half a body or nothing does not hold up the end."""
    options = ("--merge-milliseconds", "1000", "--most-upload-seconds", "2")
    with serving(folder, *options) as server:
        with (
            closing(connect(server)) as whole,
            closing(connect(server)) as half,
            closing(connect(server)) as silent,
        ):
            whole.sendall(request(ROW))
            half.sendall(head(100) + b"{")
            until(server, "reward_waiting_requests", 2)
            began = time.monotonic()
            for number in signals:
                server.process.send_signal(number)
                time.sleep(0.2)
            assert to_the_end(whole).startswith(b"HTTP/1.1 200 ")
            assert to_the_end(half).startswith(b"HTTP/1.1 408 ")
            assert to_the_end(silent) == b""
        _, stderr = server.process.communicate(timeout=SECONDS)
        assert (server.process.returncode, stderr) == (status, said)
        assert time.monotonic() - began < 20
