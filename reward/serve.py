"""A server of rewards: `python -m reward.serve MODEL`.

POST /score takes a row as reward.score does, or a JSON list of rows. POST /get_reward takes what
OpenRLHF sends to a remote reward model. GET /health and GET /metrics (Prometheus) say how it is.
Requests that arrive together are computed together, and what their texts begin with alike is
computed once. docs/serving.md has the details.

Nobody is asked for a password: only this machine can connect unless --host says otherwise.
SIGTERM ends it when all that was taken is answered, with status 0.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import math
import resource
import signal
import socket
import sys
from functools import partial
from pathlib import Path

from reward.harness.errors import InputError
from reward.harness.lock import changed_since
from reward.pairs.preference import Message
from reward.serving.batch import How, open_in_worker
from reward.serving.options import choose_settings
from reward.serving.questions import MANY, Question

CONNECTIONS = 4096  # that wait to be accepted
LARGE = 1_000_000_000
SLOW = 10_000  # milliseconds
# Scored once before anything is served: prefixes are tried, and the first request need not wait.
FIRST = [
    Question((Message("user", "How are you? " * times),), ("Well.", "Well, thank you."), MANY)
    for times in (1, 8, 64)
]


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("serve", status=2):
        _serve(_options())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reward.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", type=Path, help="a model's folder, such as data/model")
    add("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 takes one that is free (default: %(default)s)")
    add("--normalise", action="store_true", help="give rewards the mean 0 and deviation 1")
    add("--refuse-control-tokens", action="store_true", help="no reward for texts that hold any")
    add("--max-length", type=int, help="tokens; longer texts are cut (default: as it was trained)")
    add("--prompt-floor", type=float, help="share left to a prompt (default: as it was trained)")
    add = partial(parser.add_argument_group("limits").add_argument, type=float)
    add("--most-requests", type=int, default=2048, help="waiting; more get 503 (%(default)s)")
    add("--most-seconds", default=60, help="for an answer; a later one is 504 (%(default)s)")
    add("--most-megabytes", default=4, help="of a request; a larger one gets 413 (%(default)s)")
    add("--most-tokens", type=int, default=200_000, help="of a request; more get 413 (%(default)s)")
    add("--merge-milliseconds", default=5, help="that a request waits for others (%(default)s)")
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> None:
    _check(options)
    try:
        import uvicorn

        from reward.serving.app import Limits, Service, make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: pip install -r requirements-serve.txt."
        ) from None
    if changed := changed_since(options.model):
        print(f"serve: {changed}", file=sys.stderr)
    settings = {name: getattr(options, name) for name in ("max_length", "prompt_floor")}
    model = open_in_worker(options.model, **settings)
    model.rewards(FIRST, None)
    limits = Limits(
        requests=options.most_requests,
        seconds=options.most_seconds,
        body_bytes=int(options.most_megabytes * 1e6),
        tokens=options.most_tokens,
        merge_seconds=options.merge_milliseconds / 1000,
    )
    service = Service(model, How(options.normalise, options.refuse_control_tokens), limits)
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(service),
            http="h11",
            ws="none",
            lifespan="on",
            backlog=CONNECTIONS,
            log_level="warning",
            server_header=False,
            # Every request that was taken is answered by then.
            timeout_graceful_shutdown=math.ceil(options.most_seconds) + 1,
        )
    )

    def end(*_: object) -> None:
        server.should_exit = True

    _allow_connections()
    with _listening(options.host, options.port) as listening:
        # uvicorn has a handler of its own while it runs, and sends the signal again at its end.
        signal.signal(signal.SIGTERM, end)
        host, port = listening.getsockname()[:2]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"serve: {options.model} at http://{place}", file=sys.stderr, flush=True)
        server.run(sockets=[listening])


def _check(options: argparse.Namespace) -> None:
    """Raise InputError where the command line cannot be right, before anything slow is imported."""
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port is {options.port}: give one from 0 to {(1 << 16) - 1}.")
    for name in ("most_requests", "most_seconds", "most_megabytes", "most_tokens"):
        if not 0 < getattr(options, name) < LARGE:
            raise InputError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}: give more than 0, and "
                f"less than {LARGE:,}."
            )
    if not 0 <= options.merge_milliseconds <= SLOW:
        raise InputError(
            f"--merge-milliseconds is {options.merge_milliseconds}: give 0 to {SLOW:,}."
        )
    choose_settings(
        options.model,
        max_length=options.max_length,
        prompt_floor=options.prompt_floor,
        normalise=options.normalise,
    )


def _allow_connections() -> None:
    """Raise the number of open files, of which a connection is one, as far as the system lets."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise InputError(
            f"nobody can listen at {host}, port {port} ({error.strerror}): choose another "
            f"--host or --port."
        ) from None


if __name__ == "__main__":
    main()
