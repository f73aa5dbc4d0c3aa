"""Record batches partitioned into files on disk.

Rows that belong together then meet in memory without all rows being there at once.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@contextmanager
def partitioned(
    batches: Iterable[tuple[pa.RecordBatch, NDArray[np.int64]]],
    schema: pa.Schema,
    count: int,
    scratch: Path,
) -> Iterator[Callable[[int], pa.Table]]:
    """Write each row of `batches` to the partition whose number stands beside it, 0 to `count` - 1.

    Yields a function that reads the partition of a number, its rows in the order in which they
    came. The files are in `scratch`, and gone after the block; `count` of them are open at once.
    """
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        paths = [Path(folder) / f"{number}.arrow" for number in range(count)]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(pa.ipc.new_stream(str(path), schema, options=options))
                for path in paths
            ]
            for batch, numbers in batches:
                for number in np.unique(numbers).tolist():
                    writers[number].write_batch(batch.filter(pa.array(numbers == number)))

        def read(number: int) -> pa.Table:
            with pa.OSFile(str(paths[number])) as file:
                return pa.ipc.open_stream(file).read_all()

        yield read
