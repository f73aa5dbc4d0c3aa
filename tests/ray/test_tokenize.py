"""The stage tokenize with the workers of Ray: the same bytes as without."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward.pairs.preference import SCHEMA

ROOT = Path(__file__).parents[2]


def tokenize(folder: Path, tokens: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = {"splits": "splits", "backbone": ROOT / "data/sources/tiny", "tokens": tokens}
    arguments = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    return subprocess.run(
        [sys.executable, "-m", "stages.tokenize", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Splits of several row groups; of a hundred pairs one has the same tokens on both sides."""
    (tmp_path / "splits").mkdir()
    (tmp_path / "params.yaml").write_text(
        "max_length: 48\ntokenize: {prompt_floor: 0.25, refused: stop}\n"
    )
    for side, count in (("train", 3000), ("validation", 700)):
        pairs = [
            {
                "pair_id": f"{number:032x}",
                "prompt": [{"role": "user", "content": f"What is {number}? " * (number % 9 + 1)}],
                "chosen": f"It is {number}.",
                "rejected": f"It is {number}." if number % 100 == 3 else "Who knows?",
                "chosen_rating": 2.0,
                "rejected_rating": None,
                "source": "made",
            }
            for number in range(count)
        ]
        pq.write_table(pa.Table.from_pylist(pairs, SCHEMA), tmp_path / f"splits/{side}.parquet")
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: requirements-ray.txt")
def test_the_bytes_are_the_same(folder: Path) -> None:
    alone = tokenize(folder, "alone")
    spread = tokenize(folder, "spread", REWARD_RAY="local")
    assert alone.returncode == spread.returncode == 0, spread.stderr
    assert alone.stderr == spread.stderr
    assert "30 pairs left out" in alone.stderr
    for name in ("train.parquet", "validation.parquet"):
        one, other = (folder / tokens / name for tokens in ("alone", "spread"))
        assert one.read_bytes() == other.read_bytes()
        assert pq.ParquetFile(one).metadata.num_rows
    assert pq.ParquetFile(folder / "spread/train.parquet").num_row_groups == 3


def test_an_address_that_does_not_answer_writes_nothing(folder: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: requirements-ray.txt")
    done = tokenize(folder, "tokens", REWARD_RAY="127.0.0.1:1")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("tokenize: No Ray cluster answers at 127.0.0.1:1 (")
    assert not (folder / "tokens").exists()
