"""BatchScorer in the hands of datasets, of Ray Data and of what calls as Spark does."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.score import score
from reward.serving.batch import BatchScorer
from tests.support.models import make_model

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = [
    {"prompt": f"Name the number {n}. " * (n % 5), "response": f"It is {n}.", "number": n}
    for n in range(60)
]
"""Every fifth has an empty prompt."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[float | None]:
    """What reward.score gives each row."""
    return [None if isinstance(r, UnusableError) else r["score"] for r in score(folder, ROWS)]


def agree(rows: list[dict[str, Any]], expected: list[float | None], reason: str | None) -> None:
    """All rows are there once, in their order; `reason` is what scored rows have for theirs."""
    assert [row["number"] for row in rows] == list(range(len(expected)))
    for row, reward in zip(rows, expected, strict=True):
        if reward is None:
            assert (row["score"], row["reason"]) == (None, "empty_prompt")
        else:
            assert row["score"] == pytest.approx(reward, abs=1e-5)
            assert row["reason"] == reason


def test_a_table_a_record_batch_and_a_dict(folder: Path, expected: list[float | None]) -> None:
    scorer = BatchScorer(folder)
    table = pa.Table.from_pylist(ROWS).replace_schema_metadata({"kept": "yes"})
    scored = scorer(pa.concat_tables([table[:40], table[40:]]))
    agree(scored.to_pylist(), expected, None)
    assert scored.schema.metadata == {b"kept": b"yes"}
    batch = scorer(table.to_batches()[0])
    assert isinstance(batch, pa.RecordBatch)
    assert batch.schema == scored.schema
    agree(batch.to_pylist(), expected, None)
    columns = scorer({name: [row[name] for row in ROWS] for name in ROWS[0]})
    agree(
        [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        expected,
        "",
    )
    assert scorer(table[:0]).schema == scored.schema
    assert len(scorer(table[:0])) == 0


def test_a_dict_of_arrays_with_many_answers(folder: Path) -> None:
    """Lists within arrays are arrays in the numpy format."""
    answers = np.empty(2, dtype=object)
    answers[:] = [np.array(["Yes", "No"]), np.array(["Never"])]
    found = BatchScorer(folder)({"prompt": np.array(["Is it?", "Now?"]), "responses": answers})
    assert [len(scores) for scores in found["scores"]] == [2, 1]


def test_pickled_it_is_small_and_opens_the_model_again(
    folder: Path, expected: list[float | None]
) -> None:
    scorer = BatchScorer(folder)
    table = pa.Table.from_pylist(ROWS)
    scorer(table[:1])
    pickled = pickle.dumps(scorer)
    assert len(pickled) < 2000
    agree(pickle.loads(pickled)(table).to_pylist(), expected, None)  # noqa: S301


def test_the_map_of_datasets(folder: Path, expected: list[float | None]) -> None:
    data = datasets.Dataset.from_list(ROWS)
    typed = data.with_format("arrow").map(BatchScorer(folder), batched=True, batch_size=16)
    agree(typed.with_format(None).to_list(), expected, None)
    plain = data.map(BatchScorer(folder), batched=True, batch_size=16)
    agree(plain.to_list(), expected, "")


def test_a_model_trained_again_is_not_the_one_whose_rewards_datasets_cached(
    folder: Path,
) -> None:
    before = pickle.dumps(BatchScorer(folder))
    assert pickle.dumps(BatchScorer(folder)) == before
    config = folder / "config.json"
    os.utime(config, ns=(0, config.stat().st_mtime_ns + 1))
    assert pickle.dumps(BatchScorer(folder)) != before


def test_a_stream_of_record_batches_as_spark_gives_it(
    folder: Path, expected: list[float | None]
) -> None:
    taken = []

    def stream() -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(pa.Table.from_pylist(ROWS).to_batches(max_chunksize=20)):
            taken.append(number)
            yield batch

    scored = BatchScorer(folder).record_batches(stream())
    first = next(iter(scored))
    assert taken == [0]  # one after another: a partition need not fit into memory
    agree([row for part in [first, *scored] for row in part.to_pylist()], expected, None)


def test_a_batch_without_its_columns_is_one_sentence(folder: Path) -> None:
    for batch in (pa.table({"text": ["Hi"]}), {"text": ["Hi"]}):
        with pytest.raises(InputError, match="has the columns text: rows to be scored have"):
            BatchScorer(folder)(batch)


def test_making_one_takes_no_torch(folder: Path) -> None:
    program = (
        "import sys; from reward.serving.batch import BatchScorer; BatchScorer('data/model'); "
        "print(sorted({'torch', 'transformers', 'ray'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


RAY_DATA = """
import sys
import ray
from reward.serving.batch import BatchScorer
folder, source, target = sys.argv[1:]
ray.init(address="local", include_dashboard=False, num_cpus=3)
ray.data.DataContext.get_current().enable_progress_bars = False
ray.data.read_parquet(source).map_batches(
    BatchScorer, fn_constructor_args=(folder,), batch_format="pyarrow", batch_size=16,
    concurrency=1, max_restarts=-1, max_task_retries=-1,
).write_parquet(target)
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: requirements-ray.txt")
def test_the_map_batches_of_ray_data(
    folder: Path, expected: list[float | None], tmp_path: Path
) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    done = subprocess.run(
        [sys.executable, "-c", RAY_DATA, str(folder), "in.parquet", str(tmp_path / "out")],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "out").to_pylist()
    agree(sorted(rows, key=lambda row: row["number"]), expected, None)
