"""Chat templates that do harm: each ends in one sentence, and what it takes stays within limits."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import reward.tokens.rendering as rendering
from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder
from reward.tokens.rendering import RefusedError
from tests.support.backbones import CHATML, TOKENIZERS, save

ROOT = Path(__file__).parents[2]
ASKED = [{"role": "user", "content": "Why?"}]
TEXT = "<|im_start|>user\nWhy?<|im_end|>\n"

FOR_EVER = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)
DOUBLING = (
    "{% set n = namespace(t='x') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}"
)


@pytest.fixture(autouse=True)
def _two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computing time, so a busy machine changes nothing but how long the tests take."""
    monkeypatch.setattr(rendering, "SECONDS", 2)


@pytest.fixture
def encoder(tmp_path: Path) -> Callable[[str], Encoder]:
    return lambda template: Encoder(save(tmp_path / "model", TOKENIZERS["byte level"], template))


def pid_of(encoder: Encoder) -> int:
    """The process that a template's texts are made in, for this process."""
    return encoder._template._processes[os.getpid()]._running.pid


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + 300
    while is_there(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_there(pid)


@pytest.mark.parametrize(
    "template",
    [
        FOR_EVER,
        "{{ 10 ** (10 ** 8) }}",  # one operation of C, which no check between operations would end
        "{% if false %}{{ 9 ** (9 ** 9) }}{% endif %}",  # constants are folded early
    ],
    ids=["loops", "one operation", "a constant"],
)
def test_endless_computing_ends_in_a_sentence(
    encoder: Callable[[str], Encoder], template: str
) -> None:
    started = time.monotonic()
    with pytest.raises(InputError) as caught:
        encoder(template).render(ASKED)
    assert str(caught.value).startswith("The chat template in /")
    assert str(caught.value).endswith(
        "/model takes more than 2 seconds for a conversation: correct it or choose another "
        "backbone."
    )
    assert not isinstance(caught.value, RefusedError)
    assert time.monotonic() - started > 1


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10 ** 10 }}",
        DOUBLING,
        "{{ 'x'.ljust(10 ** 10) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ messages[0].content | center(10 ** 10) }}",
        "{% set n = namespace(l=[]) %}{% for i in range(99) %}{% set n.l = n.l + n.l + range(9999)"
        " | list %}{% endfor %}",
    ],
    ids=["times", "doubling", "ljust", "format", "filter", "lists"],
)
def test_endless_memory_ends_in_a_sentence(
    encoder: Callable[[str], Encoder], template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the other process, whose peak is measured; this one must not grow at all."""
    monkeypatch.setattr(rendering, "SECONDS", 20)
    opened = encoder(template)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as caught:
        opened.render(ASKED)
    said = str(caught.value)
    assert "takes more than 2 GB of memory" in said or "MemoryError" in said, said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes
    if sys.platform == "linux":
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3_000_000


def test_a_text_that_outgrows_its_conversation_is_refused(
    encoder: Callable[[str], Encoder],
) -> None:
    opened = encoder("{{ 'x' * 100000 }}{{ '.' * (messages[0].content | length) }}")
    with pytest.raises(RefusedError, match=r"its text has 100,004 characters, more than 100,000 "):
        opened.render(ASKED)
    # Ten times its conversation is fine, whatever that is.
    long = [{"role": "user", "content": "x" * 20_000}]
    assert len(opened.render(long)) == 120_000


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ messages[0].content + 1 }}", "TypeError: can only concatenate str"),
        ("{{ messages | sum }}", "TypeError: unsupported operand"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError: maximum recursion"),
        ("{{ '\\ud800' }}", "UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800'"),
        ("{{ raise_exception('\\ud800 no') }}", "(? no)"),
        ("{{ raise_exception('x' * 10000) }}", "x" * 300 + "):"),
        ("{{ nothing.more }}", "'nothing' is undefined"),
    ],
)
def test_every_error_of_a_template_is_a_sentence(
    encoder: Callable[[str], Encoder], template: str, reason: str
) -> None:
    opened = encoder(template)
    for _ in range(2):
        with pytest.raises(RefusedError) as caught:
            opened.render(ASKED)
        assert reason in str(caught.value)
        assert "refuses a conversation with the roles user (" in str(caught.value)
        assert str(caught.value).endswith("from the data or choose another backbone.")


@pytest.mark.parametrize(
    "template",
    ["{% for %}", "{% extends 'x' %}{{", "{{ " + "(" * 5000 + ")" * 5000 + " }}", "{{ 5 | no }}"],
    ids=["syntax", "unclosed", "nested", "no such filter"],
)
def test_a_template_that_is_not_valid_is_a_sentence(
    encoder: Callable[[str], Encoder], template: str
) -> None:
    with pytest.raises(InputError, match=r"/model is not valid \(.+\): correct it\.$") as caught:
        encoder(template).render(ASKED)
    assert "\n" not in str(caught.value)


def test_after_an_end_the_next_text_is_made_as_ever(encoder: Callable[[str], Encoder]) -> None:
    refuse = "{% if messages[0].content == 'loop' %}" + FOR_EVER + "{% endif %}"
    opened = encoder(refuse + CHATML)
    assert opened.render(ASKED) == TEXT
    with pytest.raises(InputError, match="takes more than 2 seconds"):
        opened.render([{"role": "user", "content": "loop"}])
    assert opened.render(ASKED) == TEXT


def test_a_killed_process_is_a_sentence_and_no_broken_pipe(
    encoder: Callable[[str], Encoder],
) -> None:
    opened = encoder(CHATML)
    opened.render(ASKED)
    os.kill(pid_of(opened), 9)
    with pytest.raises(InputError, match=r"ended by itself \(status -9\): correct it or choose"):
        opened.render(ASKED)
    assert opened.render(ASKED) == TEXT


PIPE = """
import os, signal, sys
from pathlib import Path
from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as reward.score does
encoder = Encoder(Path(sys.argv[1]))
encoder.render([{"role": "user", "content": "Why?"}])
process = encoder._template._processes[os.getpid()]._running
process.kill()
process.wait()
try:
    encoder.render([{"role": "user", "content": "Why?" * 99999}])
except InputError as error:
    print(error)
assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL
assert signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""


def test_a_broken_pipe_ends_no_filter(encoder: Callable[[str], Encoder]) -> None:
    """A command that such a pipe may end would end without a word."""
    done = run(PIPE, str(encoder(CHATML).folder))
    assert done.returncode == 0, done.stderr
    assert "ended by itself (status -9)" in done.stdout


def run(program: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd="/",  # -c imports from the working folder first
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


ENDS = """
import os, sys, time
from pathlib import Path
from reward.tokens.encoder import Encoder
encoder = Encoder(Path(sys.argv[1]))
encoder.render([{"role": "user", "content": "Why?"}])
print(encoder._template._processes[os.getpid()]._running.pid, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["normally", "killed"])
def test_the_process_ends_with_the_one_that_started_it(
    encoder: Callable[[str], Encoder], how: str
) -> None:
    done = run(ENDS, str(encoder(CHATML).folder), how)
    assert done.returncode == (-9 if how == "killed" else 0), done.stderr
    wait_for_end(int(done.stdout))


def test_the_process_ends_with_the_encoder(encoder: Callable[[str], Encoder]) -> None:
    opened = encoder(CHATML)
    assert opened._template._processes == {}  # nobody asked for a text yet
    opened.render(ASKED)
    pid = pid_of(opened)
    assert is_there(pid)
    del opened
    assert not is_there(pid)


def test_a_forked_child_has_a_process_of_its_own(encoder: Callable[[str], Encoder]) -> None:
    opened = encoder(CHATML)
    opened.render(ASKED)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        text = opened.render([{"role": "user", "content": "Where?"}])
        os.write(write, f"{pid_of(opened)} {text}".encode())
        del opened
        os._exit(0)
    os.close(write)
    pid, _, text = os.read(read, 1000).decode().partition(" ")
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert text == TEXT.replace("Why", "Where")
    assert int(pid) != pid_of(opened)
    wait_for_end(int(pid))
    assert opened.render(ASKED) == TEXT


def test_threads_take_turns(encoder: Callable[[str], Encoder]) -> None:
    opened = encoder(CHATML)
    made: dict[int, list[str]] = {}

    def make(number: int) -> None:
        asked = [{"role": "user", "content": f"{number} "}]
        made[number] = [opened.render(asked) for _ in range(50)]

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    for number, texts in made.items():
        assert texts == [f"<|im_start|>user\n{number} <|im_end|>\n"] * 50


def test_an_interrupted_batch_leaves_no_answer_to_the_next(
    encoder: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "CHUNK", 1)
    opened = encoder(CHATML)

    def conversations() -> Iterator[rendering.Work]:
        yield ASKED, [False]
        yield ASKED, [False]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(opened._template.texts(conversations()))
    other = [{"role": "user", "content": "Where?"}]
    assert opened.render(other) == TEXT.replace("Why", "Where")


def test_a_batch_larger_than_a_pipe_and_its_chunks(encoder: Callable[[str], Encoder]) -> None:
    """2 MB in each direction, of which pipes hold 64 kB: neither side waits for the other."""
    opened = encoder(CHATML)
    prompts = [[{"role": "user", "content": f"{number} " * 300}] for number in range(500)]
    answers = [[f"{number}!" * 300, "No."] for number in range(500)]
    encoded = opened.encode(prompts, answers)
    assert len(encoded) == 500
    (alone,) = opened.encode(prompts[321:322], answers[321:322])
    assert encoded[321].prompt.tolist() == alone.prompt.tolist()
    assert encoded[321].responses[0].tolist() == alone.responses[0].tolist()


STEALS = """
import os, subprocess, sys
from pathlib import Path
from reward.tokens import rendering
from reward.tokens.encoder import Encoder
os.chdir(sys.argv[2])
rendering._BEGIN = "import os, json, sys; sys.stdin.buffer.readline(); " + (
    "print(json.dumps(f'{sorted(os.environ)} {sys.flags.isolated} {os.getsid(0) == os.getpid()}'))"
)
try:
    Encoder(Path(sys.argv[1])).render([])
except Exception as error:
    print(error)
"""


def test_the_process_gets_no_secret_and_imports_nothing_of_the_users(
    encoder: Callable[[str], Encoder], tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    done = run(STEALS, str(encoder(CHATML).folder), str(tmp_path), HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    # LC_CTYPE is what Python sets by itself in a locale without Unicode.
    assert "is not valid ([] 1 True)" in done.stdout.replace("'LC_CTYPE'", ""), done.stdout


def test_it_runs_from_a_folder_with_spaces(tmp_path: Path) -> None:
    """A copy of the package, as installed elsewhere, with letters that are no ASCII."""
    folder = tmp_path / "Zwei Ordner ü 東京"
    folder.mkdir()
    subprocess.run(["cp", "-r", str(ROOT / "reward"), str(folder / "reward")], check=True)
    program = (
        "import sys; from pathlib import Path; from reward.tokens import rendering;"
        "from reward.tokens.encoder import Encoder; print(rendering.__file__);"
        "print(Encoder(Path(sys.argv[1])).render([{'role': 'user', 'content': 'Why?'}]))"
    )
    done = run(
        program,
        str(save(folder / "model", TOKENIZERS["byte level"], CHATML)),
        PYTHONPATH=str(folder),
        PYTHONUTF8="1",
        LC_ALL="C",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(folder))
    assert done.stdout.endswith(TEXT + "\n")
