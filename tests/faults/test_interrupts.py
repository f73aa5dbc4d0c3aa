"""Interrupts and SIGTERM: one line, nothing half-written, wherever they come; real processes."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reward.training.checkpoints import latest
from tests.support.commands import DOWNLOAD, ready_to_download, start
from tests.support.pipeline import PROJECT
from tests.support.runs import copy, environment, prepare, read_params, rows_of, write_params
from tests.support.runs import start as start_stage
from tests.support.whole_run import command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return ready_to_download(tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


ENTRIES = [
    path
    for path in (*(PROJECT / "stages").glob("*.py"), *(PROJECT / "reward").glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_every_entry_imports_first_what_makes_an_interrupt_one_line(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.ImportFrom)
    assert first.module in ("reward.harness.endings", "reward.harness.stage")


def has_imported(process: subprocess.Popen[str], what: str) -> bool:
    """Whether a library of the name is loaded (on Linux)."""
    try:
        return what in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    except OSError:
        return False


def when(
    process: subprocess.Popen[str], ready: Callable[[], bool], number: int, wait: float = 0
) -> tuple[str, int]:
    """Send a signal as soon as a process is ready; its stderr and exit status."""
    limit = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.001)
    time.sleep(wait)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    return errors, process.returncode


@pytest.mark.parametrize("module", ["stages.train", "stages.evaluate", "reward.compare"])
@pytest.mark.parametrize("library", ["numpy", "pyarrow", "torch|scipy"])
@pytest.mark.parametrize("wait", [0, 0.03, 0.2])
def test_an_interrupt_while_libraries_are_imported_is_one_line(
    tmp_path: Path, module: str, library: str, wait: float
) -> None:
    """The first of them takes the interpreter's own start and a few hundredths of a second."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("what a process has loaded is seen on Linux only")
    process = start(["-m", module, "a", "b"], tmp_path)
    names = library.split("|")
    ready = lambda: any(has_imported(process, name) for name in names)  # noqa: E731
    errors, status = when(process, ready, signal.SIGINT, wait)
    assert (errors, status) == (f"{module.split('.')[1]}: interrupted\n", 130)


@pytest.mark.parametrize(
    ("number", "line", "status"),
    [
        (signal.SIGINT, "download: interrupted", 130),
        (signal.SIGTERM, "download: ended by SIGTERM", 143),
    ],
)
def test_a_stage_that_is_stopped_leaves_nothing_half_written(
    place: Path, number: int, line: str, status: int
) -> None:
    row = '{"prompt": "Why?", "chosen": "So %d.", "rejected": "No."}\n'
    (place / "many.jsonl").write_text("".join(row % n for n in range(200_000)))
    params = read_params(place)
    params["datasets"]["sample"]["source"] = "many.jsonl"
    write_params(place, params)
    process = start(DOWNLOAD, place)
    working = lambda: [*place.glob("data/.raw.*.partial/raw/pairs.parquet")] != []  # noqa: E731
    errors, ended = when(process, working, number)
    assert errors.splitlines()[-1] == line
    assert "Traceback" not in errors
    assert ended == status
    assert [*(place / "data").iterdir()] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [1, 6])
def test_train_says_that_it_goes_on_and_does(
    prepared: Path, tmp_path: Path, number: int, steps: int
) -> None:
    folder = tmp_path / "run"
    # The signal may come some steps later: in the first case there is no checkpoint by then, in the
    # second one at least, and many steps are left in both.
    copy(prepared, folder, epochs=8, checkpoint_steps=4 if steps == 6 else 1000)
    words = command("train")[1:]
    process = start(words, folder, env=environment(folder), stdout=subprocess.DEVNULL)
    errors, status = when(process, lambda: rows_of(folder) >= steps, number)
    what, code = ("interrupted", 130) if number == signal.SIGINT else ("ended by SIGTERM", 143)
    assert errors.splitlines() == [
        "data/backbone has no weights: they are drawn by seed 42.",
        f"train: {what}; run it again, it goes on from its last checkpoint",
    ]
    assert status == code
    assert not (folder / "data/model").exists()
    runs = [*folder.glob(".checkpoints/*/")]
    last = latest(runs[0]) if runs else None
    assert (last is None) == (steps == 1)
    again = start_stage(folder)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0
    assert ("goes on from its " in errors) == (steps == 6)
    assert last is None or f"goes on from its {last.name}\n" in errors


@pytest.mark.slow
def test_two_processes_are_interrupted_in_one_line(prepared: Path, tmp_path: Path) -> None:
    """Each by itself, as a terminal does; torchrun has its own words."""
    folder = tmp_path / "run"
    shutil.copytree(prepared, folder)
    torchrun = Path(sys.executable).parent / "torchrun"
    words = [str(torchrun), "--standalone", "--nproc_per_node", "2", *command("train")[1:]]
    process = start(words, folder, start_new_session=True)
    limit = time.monotonic() + 300
    while rows_of(folder) < 2:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert errors.count("train: interrupted; run it again") == 1
    assert not (folder / "data/model").exists()
