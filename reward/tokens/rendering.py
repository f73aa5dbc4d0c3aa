"""Conversations made texts by a chat template, which runs in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NoReturn, cast

import jinja2
import markupsafe

from reward.harness.errors import InputError
from reward.tokens import sandbox
from reward.tokens.records import REFUSED

SECONDS = 10
"""Computing time that one text, or reading the template, may take."""
GIGABYTES = 2
"""Memory of the process that a template runs in, where the system can limit it (not on macOS)."""
CHUNK = 250_000  # characters of conversations that are sent at once
MOST_ROLES = 8  # named in a sentence

ChatMessage = dict[str, str]
"""One turn as chat templates take it: role and content (reward.pairs.preference.Message as a
dictionary)."""

Work = tuple[Sequence[ChatMessage], Sequence[str | bool]]
"""A conversation, and the texts to make of it: with the assistant's answer that is given, or as it
is, with (True) or without (False) what asks for an answer."""


class RefusedError(InputError):
    """The chat template can be used, but not for this conversation.

    problem: what it says; cure: what can be done, another half of the sentence.
    """

    reason = REFUSED
    """What rows that meet with it are counted as."""
    merging_helps = True
    """Whether it may take the same turns when they are merged (reward.tokens.merging)."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}: {cure}.")
        self.problem, self.cure = problem, cure

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.cure)


class ChatTemplate:
    """A chat template that makes texts of conversations, in a process of its own.

    It is a program by somebody else, which may loop for ever or fill the memory: the process is
    ended where it does, whatever it is doing then. It starts with the first conversation and ends
    with this object or this process. Threads take turns; a fork's child starts one of its own.
    """

    def __init__(self, template: str, special: dict[str, str], name: str) -> None:
        """special: the named special tokens. name: whose template it is, for sentences."""
        self._name = name
        self._start = {"template": template, "special": special}
        self._processes: dict[int, _Process] = {}  # by the process that started it
        weakref.finalize(self, _end_own, self._processes)

    def texts(self, work: Iterable[Work]) -> Iterator[list[list[str] | RefusedError]]:
        """The texts of each conversation, as many as it is to be made into, chunk by chunk.

        While a chunk is used, the process makes the texts of the next one. In the place of a
        conversation that the template refuses, e.g. because it knows no system turns, stands the
        error to be raised. Raises InputError where it is not valid or exceeds the limits above.
        """
        process = self._processes.setdefault(os.getpid(), _Process())
        with process.turn:
            try:
                if not process.runs:
                    self._begin(process)
                waiting: list[Work] | None = None
                for chunk in _chunks(work):
                    done = self._checked(waiting, process.answer()) if waiting else None
                    process.ask(chunk)
                    waiting = chunk
                    if done:
                        yield done
                if waiting:
                    yield self._checked(waiting, process.answer())
            except _EndedError as ended:
                raise InputError(self._why(ended.status)) from None
            except BaseException:
                process.end()  # an answer may be on its way that nobody will read
                raise

    def _begin(self, process: "_Process") -> None:
        process.begin(self._start | {"seconds": SECONDS, "bytes": GIGABYTES * 10**9})
        valid = process.answer()
        if valid is not True:
            raise InputError(
                f"The chat template in {self._name} is not valid ({valid}): correct it."
            )

    def _checked(
        self, work: list[Work], answers: list[list[str] | str]
    ) -> list[list[str] | RefusedError]:
        return [
            self._refused(messages, answer) if isinstance(answer, str) else answer
            for (messages, _), answer in zip(work, answers, strict=True)
        ]

    def _refused(self, messages: Sequence[ChatMessage], why: str) -> RefusedError:
        roles = [message["role"] for message in messages]
        listed = ", ".join(roles[:MOST_ROLES]) + (", ..." if len(roles) > MOST_ROLES else "")
        return RefusedError(
            f"The chat template in {self._name} refuses a conversation with the roles {listed} "
            f"({why})",
            "remove such turns from the data or choose another backbone",
        )

    def _why(self, status: int) -> str:
        cure = "correct it or choose another backbone"
        if status == -signal.SIGPROF:
            return (
                f"The chat template in {self._name} takes more than {SECONDS} seconds for a "
                f"conversation: {cure}."
            )
        if status == sandbox.OUT_OF_MEMORY:
            return (
                f"The chat template in {self._name} takes more than {GIGABYTES} GB of memory for a "
                f"conversation: {cure}, or shorten the texts."
            )
        return (
            f"The process of the chat template in {self._name} ended by itself (status {status}): "
            f"{cure}."
        )


def _chunks(work: Iterable[Work]) -> Iterator[list[Work]]:
    chunk: list[Work] = []
    size = 0
    for messages, hows in work:
        chunk.append((messages, hows))
        size += sum(len(message["content"]) for message in messages)
        size += sum(len(how) for how in hows if isinstance(how, str))
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _EndedError(Exception):
    """The process has ended by itself; `status` as in subprocess."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


# Isolated and without site-packages, so that no variable and no folder of the user's changes what
# runs; the folders with jinja2, markupsafe and this project come last.
_BEGIN = "import sys; sys.path += sys.argv[1:]; from reward.tokens.sandbox import serve; serve()"
_FOLDERS = (
    Path(jinja2.__file__).parents[1],
    Path(markupsafe.__file__).parents[1],
    Path(sandbox.__file__).parents[2],
)
_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # Python itself may be found by them


class _Process:
    """A process of reward.tokens.sandbox and the pipes to it."""

    def __init__(self) -> None:
        self.turn = Lock()
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._popen is not None

    def begin(self, start: dict[str, Any]) -> Any:
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BEGIN]
        self._popen = subprocess.Popen(
            [*command, *dict.fromkeys(map(str, _FOLDERS))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
            start_new_session=True,  # Ctrl-C ends this process, and with it the other one
        )
        self.ask(start)

    def ask(self, question: Any) -> None:
        """Send a question; the answer to the one before must have been taken, or both would wait.

        Raises _EndedError where nobody will answer, as `answer` does.
        """
        line = json.dumps(question, ensure_ascii=False).encode() + b"\n"
        try:
            _write(cast(BinaryIO, self._running.stdin).fileno(), line)
        except BrokenPipeError:
            self._has_ended()

    def answer(self) -> Any:
        """The answer to the question."""
        line = cast(BinaryIO, self._running.stdout).readline()
        if not line.endswith(b"\n"):
            self._has_ended()
        return json.loads(line)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        return cast("subprocess.Popen[bytes]", self._popen)

    def _has_ended(self) -> NoReturn:
        status = self._running.wait()
        self.end()
        raise _EndedError(status)

    def end(self) -> None:
        """Whatever it is doing; nothing where it does not run."""
        popen, self._popen = self._popen, None
        if popen:
            popen.kill()
            popen.wait()
            for pipe in (popen.stdin, popen.stdout):
                if pipe:
                    pipe.close()


def _write(pipe: int, line: bytes) -> None:
    """Raises BrokenPipeError where nobody reads, also in a command that such a pipe would end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        left = memoryview(line)
        while left:
            left = left[os.write(pipe, left) :]
    except BrokenPipeError:
        if signal.SIGPIPE in signal.sigpending():
            signal.sigwait({signal.SIGPIPE})
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_own(processes: dict[int, _Process]) -> None:
    """A fork's child leaves alone what is not its own."""
    if process := processes.get(os.getpid()):
        process.end()
