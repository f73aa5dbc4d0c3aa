"""reward.pairs.partitions: rows written to disk by their number and read back."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reward.pairs.partitions import partitioned

SCHEMA = pa.schema([("n", pa.int64())])


def test_every_row_comes_back_in_its_partition_in_order(tmp_path: Path) -> None:
    batches = [
        (pa.record_batch([list(numbers)], schema=SCHEMA), np.array(numbers) % 3)
        for numbers in (range(10), range(10, 14))
    ]
    with partitioned(iter(batches), SCHEMA, 4, tmp_path) as read:
        found = [read(number)["n"].to_pylist() for number in range(4)]
        assert found == [[0, 3, 6, 9, 12], [1, 4, 7, 10, 13], [2, 5, 8, 11], []]
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), partitioned(iter([]), SCHEMA, 2, tmp_path):
        raise ValueError("broken")
    assert not list(tmp_path.iterdir())
