"""What runs in the process of a chat template: jinja2's sandbox, with limits on time and memory.

A template is a program by somebody else. The sandbox keeps it from Python and from files, but not
from looping for ever or from filling the memory, so it has a process of its own, which the system
ends where it goes too far. reward.tokens.rendering starts that process and talks to it: a line
of JSON on stdin gets a line of JSON on stdout.

    {"template", "special", "seconds", "bytes"}     true, or why the template is not valid
    [[messages, [how, ...]], ...]                   [[text, ...] or why there is none, ...]

`how` is a text to end the conversation with, as the assistant's, or whether to add what asks for
an answer. `special` are the named special tokens, `seconds` the computing time that one text may
take, `bytes` the process's memory.
"""

import json
import os
import signal
import sys
from datetime import datetime
from typing import Any, BinaryIO

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils

OUT_OF_MEMORY = 3
"""The exit status of a process whose template needed more than its bytes."""
SHORT = 100_000  # characters that any text may have
FACTOR = 10  # longer texts have at most so many times the characters of their conversation
REASON = 300  # characters of a reason that go into a sentence


def serve() -> None:
    """Answer the lines of stdin to its end, which comes when the other process has ended."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    try:
        _answer(sys.stdin.buffer, sys.stdout.buffer)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # whatever else would run may need memory as well


def _answer(questions: BinaryIO, answers: BinaryIO) -> None:
    start = json.loads(questions.readline())
    _limit_memory(start["bytes"])
    special, seconds = start["special"], start["seconds"]
    try:
        with _Limited(seconds):
            template = compiled(start["template"])
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a template can make jinja2 raise anything
        _write(answers, _reason(error))
        return
    _write(answers, True)
    for line in questions:
        results: list[list[str] | str] = []
        for messages, hows in json.loads(line):
            try:
                texts = [_render(template, special, seconds, messages, how) for how in hows]
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001
                results.append(_reason(error))
            else:
                results.append(texts)
        _write(answers, results)


def _limit_memory(most: int) -> None:
    try:
        import resource  # not everywhere

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, ValueError, OSError):
        pass  # a system without such a limit, or with a lower one of its own


class _Limited:
    """Ends the process where a block computes for longer: the signal's own action is to kill."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        # Computing time, so that a busy machine ends nothing; a template cannot wait.
        signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _render(
    template: jinja2.Template,
    special: dict[str, str],
    seconds: float,
    messages: list[dict[str, str]],
    how: str | bool,
) -> str:
    if isinstance(how, str):
        messages = [*messages, {"role": "assistant", "content": how}]
    with _Limited(seconds):
        text = template.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=how is True,
            **special,
        )
    written = sum(len(value) for message in messages for value in message.values())
    if len(text) > max(SHORT, FACTOR * written):
        raise jinja2.TemplateError(
            f"its text has {len(text):,} characters, more than {SHORT:,} and {FACTOR} times those "
            f"of the conversation"
        )
    text.encode()  # raises UnicodeError where no tokenizer could read it
    return text


def _reason(error: Exception) -> str:
    kind = "" if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: "
    return f"{kind}{error}"[:REASON]


def _write(answers: BinaryIO, value: Any) -> None:
    # "replace": what a template says of itself may be no Unicode, unlike its texts.
    answers.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    answers.flush()


def compiled(template: str) -> jinja2.Template:
    """The template in the sandbox that transformers' `apply_chat_template` runs it in.

    Raises jinja2.TemplateError, or anything else, where it is not valid.
    """
    # Autoescape would change the text; it is read by a tokenizer, not by a browser.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    environment.globals["namespace"] = _Namespace
    return environment.from_string(template)


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's text for loss masks; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  the type that jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """Keeps out names that begin with an underscore: through them a template could reach Python."""

    def __init__(self, /, *args: Any, **attributes: Any) -> None:
        super().__init__()
        for name, value in dict(*args, **attributes).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the name {name} is not allowed in a namespace")
        super().__setitem__(name, value)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
