"""A bit that flips in an output is never read as other data: the next stage names the file."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward.evaluation.scores import score_table
from reward.harness.closure import imported_modules
from reward.harness.errors import InputError
from reward.harness.params import load_params
from reward.harness.tables import parquet_writer, read_batches, read_table
from stages.split import SplitParams, split
from stages.tokenize import TokenizeParams, tokenize
from tests.support.pipeline import PROJECT

FLIPS = 150
FILES = [
    "raw/pairs.parquet",
    "splits/train.parquet",
    "splits/validation.parquet",
    "tokens/train.parquet",
    "tokens/validation.parquet",
    "scores/validation.parquet",
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/ of a run on the sample pairs, with scores that nobody computed."""
    data = tmp_path_factory.mktemp("sample") / "data"
    command = ["-m", "stages.download", "--raw", str(data / "raw"), "--backbone"]
    subprocess.run([sys.executable, *command, str(data / "backbone")], cwd=PROJECT, check=True)
    params = PROJECT / "params.yaml"
    split(load_params(SplitParams, params), data / "raw", data / "splits")
    tokenize(
        load_params(TokenizeParams, params), data / "splits", data / "backbone", data / "tokens"
    )
    table = pq.read_table(data / "tokens/validation.parquet")
    drawn = np.random.default_rng(0).normal(size=(3, table.num_rows)).astype(np.float32)
    scores = score_table(table, drawn[:2].T, drawn[2].astype(np.float64))
    (data / "scores").mkdir()
    with parquet_writer(data / "scores/validation.parquet", scores.schema) as writer:
        writer.write_table(scores)
    return data


@pytest.mark.parametrize("name", FILES)
def test_150_flips_in_a_file(sample: Path, tmp_path: Path, name: str) -> None:
    """Spread over all of it, and again over its footer, which no page's checksum covers."""
    content = (sample / name).read_bytes()
    right = pq.read_table(sample / name)
    footer = int.from_bytes(content[-8:-4], "little") + 16
    draw = random.Random(0)
    path = tmp_path / "flipped.parquet"
    refused = other = 0
    for start in (0, len(content) - footer):
        width = len(content) - start
        for number in range(FLIPS):
            changed = bytearray(content)
            changed[start + int((number + draw.random()) * width / FLIPS)] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            try:
                table = read_table(path)
                batches = pa.Table.from_batches(read_batches(path, 1000))
            except InputError:
                refused += 1
            else:
                other += not (table.equals(right, check_metadata=True) and batches.equals(right))
    assert other == 0
    assert refused >= 2 * FLIPS - 3  # the seal is 8 bytes of the file


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("split", "raw/pairs.parquet"),
        ("tokenize", "splits/train.parquet"),
        ("stats", "tokens/validation.parquet"),
        ("stats", "splits/train.parquet"),
        ("train", "tokens/train.parquet"),
    ],
)
def test_a_stage_ends_with_one_sentence(
    sample: Path, tmp_path: Path, stage: str, file: str
) -> None:
    """Its output is not touched; size and time of the damaged file are those of the sound one."""
    data = shutil.copytree(sample, tmp_path / "data")
    content = bytearray((data / file).read_bytes())
    times = (data / file).stat()
    content[len(content) // 2] ^= 16
    (data / file).write_bytes(content)
    os.utime(data / file, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    outputs = {
        "split": ["--raw", "data/raw", "--splits", "out"],
        "tokenize": ["--splits", "data/splits", "--backbone", "data/backbone", "--tokens", "out"],
        "stats": [
            *("--raw", "data/raw", "--splits", "data/splits", "--tokens", "data/tokens"),
            *("--metrics", "out", "--details", "out", "--lengths", "out"),
        ],
        "train": [
            *("--tokens", "data/tokens", "--backbone", "data/backbone"),
            *("--states", "data/states", "--model", "out"),
            *("--metrics", "out", "--curve", "out"),
        ],
    }
    done = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}", *outputs[stage]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"{stage}: data/{file} is damaged (")
    assert not (tmp_path / "out").exists()


def test_no_place_reads_or_writes_parquet_by_itself() -> None:
    """Or it would forget the checksums."""
    users = {
        path.relative_to(PROJECT).as_posix()
        for folder in ("reward", "stages")
        for path in (PROJECT / folder).rglob("*.py")
        if any(name.startswith("pyarrow.parquet") for name in imported_modules(path))
    }
    # shards.py names a class in its signatures.
    assert users == {"reward/harness/tables.py", "reward/serving/shards.py"}
    shards = (PROJECT / "reward/serving/shards.py").read_text(encoding="utf-8")
    assert shards.count("pq.") == shards.count(": pq.ParquetFile)") + shards.count("-> pq.Parqu")
