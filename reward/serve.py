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
from reward.serving.limits import Limits
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
    add("--most-upload-seconds", default=10, help="to send one; a slower one is 408 (%(default)s)")
    add("--most-megabytes", default=4, help="of a request; a larger one gets 413 (%(default)s)")
    add("--most-held-megabytes", default=256, help="of all waiting; more get 503 (%(default)s)")
    add("--most-texts", type=int, default=10_000, help="of a request; more get 413 (%(default)s)")
    add("--most-tokens", type=int, default=200_000, help="of a request; more get 413 (%(default)s)")
    add("--merge-milliseconds", default=5, help="that a request waits for others (%(default)s)")
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> None:
    _check(options)
    try:
        import uvicorn

        from reward.serving.app import make_app
        from reward.serving.connections import connections
        from reward.serving.service import Service
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: pip install -r requirements-serve.txt."
        ) from None
    if changed := changed_since(options.model):
        print(f"serve: {changed}", file=sys.stderr)
    # Before the model is opened, which takes time; nobody is let in until it is.
    with _bound(options.host, options.port) as place:
        settings = {name: getattr(options, name) for name in ("max_length", "prompt_floor")}
        model = open_in_worker(options.model, **settings)
        model.rewards(FIRST, None)
        limits = _limits(options)
        service = Service(model, How(options.normalise, options.refuse_control_tokens), limits)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(service, limits),
                http=connections(limits.upload_seconds),
                ws="none",
                lifespan="on",
                backlog=CONNECTIONS,
                log_level="warning",
                server_header=False,
                # Every request that was taken is answered by then.
                timeout_graceful_shutdown=math.ceil(limits.seconds) + 1,
            )
        )

        def end(*_: object) -> None:
            server.should_exit = True

        _allow_connections()
        # uvicorn has a handler of its own while it runs, and sends the signal again at its end.
        signal.signal(signal.SIGTERM, end)
        place.listen(CONNECTIONS)
        host, port = place.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"serve: {options.model} at http://{address}", file=sys.stderr, flush=True)
        server.run(sockets=[place])


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(
        requests=options.most_requests,
        seconds=options.most_seconds,
        upload_seconds=options.most_upload_seconds,
        body_bytes=int(options.most_megabytes * 1e6),
        held_bytes=int(options.most_held_megabytes * 1e6),
        texts=options.most_texts,
        tokens=options.most_tokens,
        merge_seconds=options.merge_milliseconds / 1000,
    )


def _check(options: argparse.Namespace) -> None:
    """Raise InputError where the command line cannot be right, before anything slow is imported."""
    if not 0 <= options.port < 1 << 16:
        raise InputError(f"--port is {options.port}: give one from 0 to {(1 << 16) - 1}.")
    limits = [name for name in vars(options) if name.startswith("most_")]
    for name in limits:
        if not 0 < getattr(options, name) < LARGE:
            raise InputError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}: give more than 0, and "
                f"less than {LARGE:,}."
            )
    if options.most_held_megabytes < options.most_megabytes:
        raise InputError(
            f"--most-held-megabytes is {options.most_held_megabytes:g}, and a request may have "
            f"{options.most_megabytes:g}: give as many at least."
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


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has an address and does not listen yet."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        bound.bind((host, port))
    except (OSError, UnicodeError) as error:  # the second for what can be no name
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else "it is no name of a host"
        raise InputError(
            f"nobody can listen at {host}, port {port} ({reason}): choose another --host or --port."
        ) from None
    return bound


if __name__ == "__main__":
    main()
