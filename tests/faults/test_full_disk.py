"""A disk that is full, or nearly, under the output of each stage and command: a real file system.

Needs the right to mount one, which root has.
"""

import errno
import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.mounts import mounted
from tests.support.pipeline import PROJECT, written
from tests.support.runs import read_params, write_params
from tests.support.whole_run import STAGES, run, whole_run

FULL = "No space left on device: make room on its disk and run again."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 megabytes."""
    with mounted(tmp_path / "disk", "size=64m") as folder:
        yield folder


def fill(disk: Path, room: int) -> None:
    """Leave room for some bytes."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        file.truncate(file.tell() - room)
    assert shutil.disk_usage(disk).free == room


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "room"),
    [(stage, 0) for stage in STAGES]
    # Of the others, a page is enough for all.
    + [(stage, 4096) for stage in STAGES if stage not in ("choose", "testsets", "stats", "states")],
)
def test_a_stage_says_so_and_leaves_what_was_there(
    made: Path, disk: Path, stage: str, room: int
) -> None:
    for path in written(stage):
        (disk / path).parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("data/") and "." not in path:
            (disk / path).mkdir()
            (disk / path / "old").write_text("old")
        else:
            (disk / path).write_text("old")
    before = files(disk)
    fill(disk, room)
    done = run(made, stage, str(disk))
    (disk / "filler").unlink()
    after = files(disk)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{stage}: ")
    assert last.endswith(FULL)
    assert any(f": {disk / path}: " in last for path in written(stage)), last
    # Whatever is not the old one is a whole new one: with some room, small files find theirs. The
    # training curve alone grows in place.
    after.pop("metrics/train_curve.csv", None)
    assert after.keys() <= before.keys()
    for path, content in after.items():
        assert content == b"old" or content == (made / path).read_bytes(), path
    assert not [path for path in disk.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("models", [0.5, 1.5])
def test_checkpoints_without_room(made: Path, disk: Path, tmp_path: Path, models: float) -> None:
    """Room for half a model, and for one and half of its optimiser's states, which torch writes; it
    does not say why it cannot.
    """
    size = (made / "data/model/model.safetensors").stat().st_size
    fill(disk, int(models * size) // 4096 * 4096)
    folder = tmp_path / "run"
    shutil.copytree(made, folder, symlinks=True)
    shutil.rmtree(folder / "data/model")
    done = run(folder, "train", root=disk)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == f"train: {disk}: {FULL}"
    assert not (folder / "data/model").exists()
    (disk / "filler").unlink()
    # With room it begins again, or goes on, and ends as if nothing had been.
    done = run(folder, "train", root=disk)
    assert done.returncode == 0, done.stderr
    assert files(folder / "data/model") == files(made / "data/model")
    # safetensors gives its files 0600.
    mask = os.umask(0o022)
    os.umask(mask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "data/model").iterdir()}
    assert modes == {0o666 & ~mask}


def command(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "folder"])
def test_score_says_so_and_leaves_what_was_there(
    made: Path, disk: Path, tmp_path: Path, kind: str
) -> None:
    draw = os.urandom(12_000).hex()
    rows = [
        {"prompt": "Hi", "response": "Hello", "note": f"{n}{draw[n : n + 9000]}"}
        for n in range(200)
    ]
    source = tmp_path / f"in.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "folder":
        source.mkdir()
    table, opened = pa.Table.from_pylist(rows), source / "a.parquet"
    {
        "jsonl": lambda: source.write_bytes(lines),
        "jsonl.gz": lambda: source.write_bytes(gzip.compress(lines)),
        "parquet": lambda: pq.write_table(table, source),
        "folder": lambda: pq.write_table(table, opened),
    }[kind]()
    output = disk / f"out.{kind}"
    if kind == "folder":
        output.mkdir()
    old = output / "a.parquet" if kind == "folder" else output
    old.write_text("old")
    fill(disk, 4096)
    done = command(
        "reward.score", made / "data/model", "--input", source, "--output", output, folder=made
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"score: {old}: {FULL}"
    assert "Traceback" not in done.stderr
    (disk / "filler").unlink()
    assert files(disk) == {old.relative_to(disk).as_posix(): b"old"}


@pytest.mark.slow
def test_scores_to_a_full_stdout(made: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reward.score", str(made / "data/model")],
            input=b'{"prompt": "Hi", "response": "Hello"}\n',
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=PROJECT,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "score: " + FULL,
    ]


@pytest.mark.slow
def test_publish_says_so(made: Path, disk: Path) -> None:
    fill(disk, 4096)
    done = command("reward.publish", disk / "new", folder=made)
    assert (done.returncode, done.stderr) == (1, f"publish: {disk / 'new'}: {FULL}\n")
    assert [path.name for path in disk.iterdir()] == ["filler"]


def test_a_first_stage_says_so(disk: Path, tmp_path: Path) -> None:
    """The same in seconds, of download alone."""
    params = read_params(PROJECT)
    params["datasets"]["sample"]["source"] = str(PROJECT / "data/sources/sample.jsonl")
    params["backbones"]["tiny"]["source"] = str(PROJECT / "data/sources/tiny")
    write_params(tmp_path, params)
    (disk / "raw").mkdir()
    (disk / "raw/old").write_text("old")
    fill(disk, 8192)
    done = command(
        *("stages.download", "--raw", disk / "raw", "--backbone", disk / "b"), folder=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"download: {disk / 'raw'}: {FULL}"
    assert {path.name for path in disk.iterdir()} == {"filler", "raw"}
    assert (disk / "raw/old").read_text() == "old"
