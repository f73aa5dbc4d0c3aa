"""Responses to the same prompt brought together, wherever their rows are."""

import json
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reward.pairs.partitions import partitioned
from reward.pairs.preference import Message

BATCH_ROWS = 4096
PARTITION_BYTES = 64_000_000  # of the source, for a partition that is in memory as a whole
MOST_PARTITIONS = 256  # files open at once

SCHEMA = pa.schema(
    [("row", pa.int64()), ("prompt", pa.string()), ("text", pa.binary()), ("rating", pa.float64())]
)


class Response(NamedTuple):
    """One rated response to a prompt; `row` is its number in the source, from 1."""

    row: int
    prompt: list[Message]
    text: str
    rating: float


def by_prompt(responses: Iterator[Response], scratch: Path, size: int) -> Iterator[list[Response]]:
    """The responses to each prompt, one prompt after the other.

    They go into partitions on disk by their prompt's hash, so memory holds one partition; with a
    source (`size` bytes) of more than 16 GB the partitions grow with it.
    """
    count = min(max(size // PARTITION_BYTES, 1), MOST_PARTITIONS)
    with partitioned(_batches(responses, count), SCHEMA, count, scratch) as read:
        for number in range(count):
            groups: dict[str, list[Response]] = {}
            for batch in read(number).to_batches(BATCH_ROWS):
                for row, prompt, text, rating in zip(*batch.to_pydict().values(), strict=True):
                    turns = [Message(*turn) for turn in json.loads(prompt)]
                    response = Response(row, turns, text.decode("utf-8", "surrogatepass"), rating)
                    groups.setdefault(prompt, []).append(response)
            yield from groups.values()


def _batches(
    responses: Iterator[Response], count: int
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64]]]:
    while chunk := list(islice(responses, BATCH_ROWS)):
        # A lone surrogate, which JSON can write and UTF-8 cannot, survives in both: such a pair is
        # counted as broken later.
        prompts = [json.dumps(response.prompt) for response in chunk]
        texts = [response.text.encode("utf-8", "surrogatepass") for response in chunk]
        rows, ratings = zip(*((response.row, response.rating) for response in chunk), strict=True)
        digests = [blake2b(prompt.encode(), digest_size=8).digest() for prompt in prompts]
        numbers = np.array([int.from_bytes(digest) % count for digest in digests])
        yield pa.record_batch([rows, prompts, texts, ratings], schema=SCHEMA), numbers
