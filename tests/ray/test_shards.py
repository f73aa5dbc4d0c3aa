"""Many files: scored in this process, on Ray, and on a cluster that loses a worker or a machine."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reward.pairs.preference import UnusableError
from reward.score import score
from tests.support.models import make_model

ROOT = Path(__file__).parents[2]
SHARDS, SHARD_ROWS = 8, 1500
LONG = 300  # seconds after which a process is taken to hang
needs_ray = pytest.mark.skipif(
    not find_spec("ray"), reason="ray is not installed: pip install -r requirements-ray.txt"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def rows(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": "" if n % 700 == 9 else f"What is {n}?", "response": f"It is {n}.", "number": n}
        for n in range(first, first + count)
    ]


def write_shards(folder: Path, shards: int = 3, count: int = 40) -> Path:
    folder.mkdir()
    for number in range(shards):
        table = pa.Table.from_pylist(rows(number * count, count))
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}  # rows this short gain nothing by more


def command(*arguments: object, block: str = "") -> list[str]:
    """`python -m reward.score`; block: a library that it does not find."""
    program = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({block.split()})); "
        "runpy.run_module('reward.score', run_name='__main__', alter_sys=True)"
    )
    start = ["-c", program] if block else ["-m", "reward.score"]
    return [sys.executable, *start, *map(str, arguments)]


def run(*arguments: object, block: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, block=block),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def test_a_folder_and_a_pattern_in_this_process(folder: Path, tmp_path: Path) -> None:
    """Where Ray is not installed."""
    source = write_shards(tmp_path / "in")
    pq.write_table(pa.Table.from_pylist(rows(0, 40))[:0], source / "part-3.parquet")
    done = run(folder, "--input", source, "--output", tmp_path / "out", block="ray")
    assert done.stderr.splitlines() == ["score: 120 rows, 119 scored"]
    assert done.returncode == 1
    names = [f"part-{number}.parquet" for number in range(4)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    found = [row for name in names for row in pq.read_table(tmp_path / "out" / name).to_pylist()]
    for row, other in zip(found, score(folder, rows(0, 120)), strict=True):
        if isinstance(other, UnusableError):
            assert (row["score"], row["reason"]) == (None, other.reason)
        else:
            assert row == other | {"reason": None, "score": pytest.approx(other["score"], abs=1e-5)}
    done = run(folder, "--input", f"{source}/*-[12].parquet", "--output", tmp_path / "two")
    assert done.stderr.splitlines() == ["score: 80 rows, 80 scored"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names[1:3]


def test_ray_that_is_not_installed_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    source = write_shards(tmp_path / "in")
    places = ("--input", source, "--output", tmp_path / "out")
    done = run(folder, *places, "--ray", "local", block="ray")
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert "pip install -r requirements-ray.txt" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ray", "local"], "Many files need --input"),
        (["--input", "in"], "Many files need --input"),
        (["--input", "in", "--output", "in"], "in holds the files to be scored:"),
        (["--input", "in", "--output", "in/part-0.parquet"], "is a file: name a folder"),
        (["--input", "nothing*", "--output", "out"], "nothing* stands for no Parquet file:"),
        (["--input", "**/part-0.parquet", "--output", "out"], "two files of the name part-0"),
        (["--input", "lines.jsonl", "--output", "out", "--ray", "local"], "is no .parquet file:"),
        (["--input", "nowhere.parquet", "--output", "o", "--ray", "local"], "is no file:"),
        (["--input", "other", "--output", "out"], "other.parquet has the columns text:"),
        (["--input", "in", "--output", "out", "--workers", "0", "--ray", "local"], "is 0: give"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    from reward.score import main

    write_shards(tmp_path / "in")
    write_shards(tmp_path / "again", 1)
    (tmp_path / "other").mkdir()
    pq.write_table(pa.table({"text": ["Hi"]}), tmp_path / "other/other.parquet")
    (tmp_path / "lines.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["score", str(folder), *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not (tmp_path / "out").exists()


def break_middle(path: Path) -> None:
    """Zeros in place of the content of a file; its schema can still be read."""
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:4] + bytes(half) + content[4 + half :])


@pytest.mark.parametrize("ray", [[], pytest.param(["--ray", "local"], marks=needs_ray)])
def test_a_broken_shard_is_one_sentence_with_its_name(
    folder: Path, tmp_path: Path, ray: list[str]
) -> None:
    source = write_shards(tmp_path / "in")
    break_middle(source / "part-1.parquet")
    done = run(folder, "--input", source, "--output", tmp_path / "out", *ray)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"score: {source}/part-1.parquet cannot be read to its end")
    there = [path.name for path in (tmp_path / "out").glob("*")]
    assert "part-1.parquet" not in there
    (source / "part-2.parquet").write_bytes(b"PAR1")
    done = run(folder, "--input", source, "--output", tmp_path / "new", *ray)
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"score: {source}/part-2.parquet cannot be read as Parquet")
    assert not (tmp_path / "new").exists()


@needs_ray
def test_an_address_that_does_not_answer_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    source = write_shards(tmp_path / "in", 1)
    for address in ("127.0.0.1:1", "nonsense"):
        done = run(folder, "--input", source, "--output", tmp_path / "out", "--ray", address)
        (sentence,) = done.stderr.splitlines()
        assert sentence.startswith(f"score: No Ray cluster answers at {address} (")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("many") / "in", SHARDS, SHARD_ROWS)


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[float | None]:
    """What reward.score gives all rows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rows this short are scored no faster by more
    scored = [*score(folder, rows(0, SHARDS * SHARD_ROWS))]
    torch.set_num_threads(threads)
    return [None if isinstance(row, UnusableError) else row["score"] for row in scored]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """Two nodes with a CPU each: the cluster, and the node that the command does not join by."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback alone
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {
        "num_cpus": 1,
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
    }
    made = Cluster(initialize_head=True, head_node_args=node)
    other = made.add_node(**node)
    yield made, other
    made.shutdown()


def score_and_hit(
    address: str, folder: Path, source: Path, output: Path, hit: Callable[[], None]
) -> str:
    """Run the command on the cluster and hit it when some files are done; returns its stderr."""
    arguments = (folder, "--input", source, "--output", output, "--ray", address)
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        give_up = time.monotonic() + LONG
        while len([*output.glob("part-*")]) < 2:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        hit()
        assert process.poll() is None
        assert len([*output.glob("part-*")]) < SHARDS - 2, "the hit came too late"
        _, messages = process.communicate(timeout=LONG)
    assert process.returncode == 1, messages  # some rows have an empty prompt
    return messages


def all_rows_are_there_once(output: Path, expected: list[float | None]) -> None:
    assert len([*output.iterdir()]) == SHARDS
    found = [row for path in sorted(output.iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["number"] for row in found] == list(range(len(expected)))
    for row, reward in zip(found, expected, strict=True):
        assert row["score"] == (reward if reward is None else pytest.approx(reward, abs=1e-5))


def wait_for_work(raylet: int | None) -> psutil.Process:
    """A worker that is scoring right now, of any machine or of the one whose raylet is given.

    Between two files there is none for a moment.
    """
    give_up = time.monotonic() + LONG
    while time.monotonic() < give_up:
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has ended since
                scores = "ray::_Worker.do" in " ".join(one.cmdline())
                if scores and raylet in (None, one.ppid()):
                    return one
    raise AssertionError("no worker scores")


@pytest.mark.slow
@needs_ray
def test_a_worker_is_killed(
    cluster: tuple[Any, Any], folder: Path, many: Path, expected: list[float | None], tmp_path: Path
) -> None:
    killed = list[int]()

    def kill() -> None:
        worker = wait_for_work(None)
        worker.kill()
        worker.wait(LONG)
        killed.append(worker.pid)

    messages = score_and_hit(cluster[0].address, folder, many, tmp_path / "out", kill)
    assert len(killed) == 1
    assert "a worker was lost; what it had goes to another" in messages
    all_rows_are_there_once(tmp_path / "out", expected)


@pytest.mark.slow
@needs_ray
def test_a_node_is_killed(
    cluster: tuple[Any, Any], folder: Path, many: Path, expected: list[float | None], tmp_path: Path
) -> None:
    joined, other = cluster
    raylet = other.all_processes["raylet"][0].process.pid  # Ray's own process of a machine
    killed = list[psutil.Process]()

    def kill() -> None:
        """All processes of the machine at once, while its worker scores."""
        killed.append(wait_for_work(raylet))
        joined.remove_node(other, allow_graceful=False)
        for worker in killed:
            with suppress(psutil.NoSuchProcess):
                worker.kill()

    messages = score_and_hit(cluster[0].address, folder, many, tmp_path / "out", kill)
    assert len(killed) == 1
    assert "a worker was lost; what it had goes to another" in messages
    all_rows_are_there_once(tmp_path / "out", expected)
