"""Closed outputs, memory that runs out, files that are refused: one sentence or none; real ones."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reward.harness.errors import InputError
from reward.harness.faults import describe
from tests.support.commands import DOWNLOAD, ENVIRONMENT, ready_to_download, start
from tests.support.mounts import mounted
from tests.support.pipeline import PROJECT
from tests.support.runs import read_params, write_params


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return ready_to_download(tmp_path)


@pytest.mark.parametrize("module", ["stages.download", "reward.score", "reward.publish"])
def test_help_into_a_closed_pipe_ends_as_filters_do(tmp_path: Path, module: str) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start(["-m", module, "-h"], tmp_path, stdout=write)
    os.close(write)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (141, "")


EXAMINE = ["-m", "reward.examine", str(PROJECT / "data/sources/sample.jsonl")]


def test_head_takes_a_line_and_the_rest_is_not_missed(tmp_path: Path) -> None:
    words = [*EXAMINE[:2], str(tmp_path / "rows.jsonl")]
    rows = '{"prompt": "Why?", "chosen": "So.", "rejected": "No.", "%d": 1}\n'
    (tmp_path / "rows.jsonl").write_text("".join(rows % n for n in range(3000)))  # many columns
    process = start(words, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(str(tmp_path / "rows.jsonl"))
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    assert process.wait(timeout=300) == 141
    assert "Traceback" not in errors
    assert "Broken" not in errors


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_files(place: Path, closed: str) -> None:
    """What is written by number, as C libraries do, must not land in an output."""
    for words, status in ((DOWNLOAD, 0), (EXAMINE, 141 if ">&- " in f"{closed} " else 0)):
        if closed == "2>&-" and words is EXAMINE:
            status = 0
        line = f"{sys.executable} {' '.join(words)} {closed}"
        process = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=place,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == status, process.stderr
        assert "Traceback" not in process.stderr
    assert (place / "data/raw/source.json").read_text(encoding="utf-8").startswith("{")


LIMITED = """
import resource, runpy, sys
import numpy, pyarrow.parquet, yaml, pydantic, huggingface_hub  # with all that they need
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
sys.argv = sys.argv[1:]
import stages.{stage} as stage
def limited(*given, **named):
    resource.setrlimit(resource.RLIMIT_AS, (used + {room}, resource.RLIM_INFINITY))
    return work(*given, **named)
work, limited.__signature__ = stage.{stage}, __import__("inspect").signature(stage.{stage})
limited.__name__ = "{stage}"
from reward.harness.stage import run
run(limited, stage.{kind})
"""


def test_memory_that_runs_out_is_one_sentence(place: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("the address space in use is seen on Linux only")
    row = '{"prompt": "Why?", "chosen": "%s", "rejected": "No."}\n'
    (place / "long.jsonl").write_text(row % ("x" * 50_000_000) * 4)
    params = read_params(place)
    params["datasets"]["sample"]["source"] = "long.jsonl"
    write_params(place, params)
    program = LIMITED.format(stage="download", kind="DownloadParams", room=300_000_000)
    process = start(["-c", program, *DOWNLOAD[1:]], place)
    _, errors = process.communicate(timeout=300)
    last = errors.splitlines()[-1]
    assert process.returncode == 1, errors
    assert last.startswith("download: memory ran out")
    assert last.endswith("end what else uses it, or take a machine with more.")
    assert "Traceback" not in errors
    assert [*(place / "data").iterdir()] == []


def test_too_many_open_files_are_one_sentence(place: Path) -> None:
    limit = (6, resource.getrlimit(resource.RLIMIT_NOFILE)[1])

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    done = subprocess.run(
        [sys.executable, *DOWNLOAD],
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=few,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("download: ")
    assert last.endswith(": Too many open files: allow more open files (`ulimit -n`).")


@pytest.fixture
def read_only(place: Path) -> Iterator[Path]:
    with mounted(place / "disk", "ro,size=1m") as folder:
        yield folder


def ended(folder: Path, *words: str) -> str:
    process = start([*words], folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode in (1, 2)
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


def test_a_read_only_disk_is_one_sentence(place: Path, read_only: Path) -> None:
    last = ended(place, *DOWNLOAD[:2], "--raw", "disk/raw", "--backbone", "disk/backbone")
    assert last == (
        "download: disk/raw: Read-only file system: name a place that can be written to."
    )


def test_names_and_places_that_cannot_be_are_one_sentence(place: Path) -> None:
    last = ended(place, *DOWNLOAD[:2], "--raw", "x" * 250, "--backbone", "b")
    assert last == f"download: {'x' * 250}: File name too long: name a shorter one."
    (place / "file").touch()
    last = ended(place, *DOWNLOAD[:2], "--raw", "file/raw", "--backbone", "b")
    assert last.startswith("download: file")
    assert last.endswith("mend that and run again.")
    last = ended(place, "-m", "stages.split", "--raw", "nowhere", "--splits", "s")
    assert last == (
        "split: nowhere/pairs.parquet: No such file or directory: mend that and run again."
    )


def test_another_users_folder_is_one_sentence(place: Path) -> None:
    if os.geteuid() == 0:
        try:
            subprocess.run(["setpriv", "--version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("root may write everywhere, and there is no setpriv to be another")
    (place / "locked").mkdir()
    (place / "locked").chmod(0o555)
    drop = ["setpriv", "--reuid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    for above in (place, *place.parents[:3]):
        above.chmod(above.stat().st_mode | 0o055)

    def as_another(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*drop, sys.executable, *words],
            cwd=place,
            env=ENVIRONMENT | {"HF_HOME": "/nowhere", "HOME": "/nowhere"},
            capture_output=True,
            text=True,
            check=False,
        )

    if as_another("-c", "import stages.download").returncode:
        pytest.skip("another user may not read the project or its libraries here")
    done = as_another(*DOWNLOAD[:2], "--raw", "locked/raw", "--backbone", "locked/backbone")
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "download: locked/raw: Permission denied: change its permissions or name another place."
    )


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    "error",
    [
        TypeError("mine"),
        KeyError("mine"),
        ValueError("mine"),
        RuntimeError("mine"),
        RecursionError("mine"),
        raised(TypeError("mine"), OSError(28, "No space left on device")),
        raised(RuntimeError("mine"), FileNotFoundError(2, "No such file", "cache")),
    ],
)
def test_mistakes_of_the_program_keep_their_traceback(error: Exception) -> None:
    assert describe(error) is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("x is 1: give 2."), "x is 1: give 2."),
        (Exception("No space left on device (os error 28)"), "No space left on device: make room"),
        (raised(RuntimeError("mine"), OSError(122, "")), "Disk quota exceeded: make room within"),
        (OSError("no\nerrno"), "no: mend that and run again."),
        (OSError(5, "x", "a\x1b[31m"), "a\\x1b[31m: Input/output error: see the system's log"),
        (MemoryError(), "memory ran out: end what else uses it"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "memory ran out (Defau"),
    ],
)
def test_the_machines_faults_are_told_by_any_librarys_error(
    error: Exception, sentence: str
) -> None:
    found = describe(error)
    assert found is not None
    assert sentence in found
