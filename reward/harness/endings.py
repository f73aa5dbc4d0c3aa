"""How a stage or a command ends that cannot go on: one line on stderr and an exit status.

Importing this prepares the process: an interrupt is one line from here on. So it is the first
import of every stage and command (pyproject.toml tells ruff so), as the others take seconds.
"""

import errno
import fcntl
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from reward.harness.faults import describe

# As shells have it: 128 and the number of the signal.
INTERRUPTED = 128 + signal.SIGINT
UNREAD = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM


class _Terminated(BaseException):
    """SIGTERM as an exception, so that what is half-written is removed on the way out."""


@contextmanager
def ends_in_a_sentence(name: str, *, status: int = 1, again: str = "") -> Iterator[None]:
    """Within the block, what a user can mend ends the process with the line `name: sentence`.

    The exit status is `status` for an InputError and for what a machine lacks or refuses: memory,
    room on a disk, a permission. It is 130 after an interrupt and 143 after SIGTERM; `again` then
    says what comes of running again. It is 141, without a line, where nobody reads stdout any more.
    Mistakes of the program keep their traceback.
    """
    with _handled(signal.SIGINT, _interrupt), _handled(signal.SIGTERM, _terminate):
        try:
            try:
                yield
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            _end(name, f"interrupted; {again}".rstrip("; "), INTERRUPTED)
        except _Terminated:
            _end(name, f"ended by SIGTERM; {again}".rstrip("; "), TERMINATED)
        except Exception as error:
            if _is_unread(error):
                _fall_silent()
                sys.exit(UNREAD)
            if (sentence := describe(error)) is None:
                raise
            _end(name, sentence, status)


@contextmanager
def _handled(number: signal.Signals, handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = signal.getsignal(number)
    # torchrun sends SIGTERM to processes that may be waiting for one another within torch, where a
    # handler of Python has to wait as well.
    left = before == signal.SIG_IGN or (number == signal.SIGTERM and "RANK" in os.environ)
    if not left:
        signal.signal(number, handler)
    try:
        yield
    finally:
        if not left:
            signal.signal(number, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _end(name: str, line: str, status: int) -> NoReturn:
    # One of several processes is enough to say what all of them were sent.
    if status < 128 or os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            print(f"{name}: {line}", file=sys.stderr, flush=True)
    sys.exit(status)


def _is_unread(error: Exception) -> bool:
    """Whether stdout or stderr cannot take any more, being closed at the other end or here."""
    if not isinstance(error, OSError):
        return False
    if error.errno == errno.EBADF:
        return fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY  # see _prepare
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return error.errno == errno.EPIPE and any(
        event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)
    )


def _fall_silent() -> None:
    """What is still in the buffers goes nowhere, or Python would complain of it at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _prepare(name: str) -> None:
    """Make a new process safe while its imports run."""
    # The number of a closed descriptor would go to the next file that is opened, into which all
    # that is printed would then be written. Writing to this stdout fails as to a closed one.
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        with suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, mode)  # takes the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)

    def leave(number: int, frame: FrameType | None) -> None:
        # Nothing has begun, and an exception would end within some library's import.
        if os.environ.get("RANK", "0") == "0":
            os.write(2, f"{name}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def _command() -> str | None:
    """The stage or command that this process was started for, None where it was for another."""
    started = getattr(sys.modules["__main__"], "__spec__", None)
    package, _, name = started.name.partition(".") if started else ("", "", "")
    return name if package in ("reward", "stages") else None


if command := _command():
    _prepare(command)
