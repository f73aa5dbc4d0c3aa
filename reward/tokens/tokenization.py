"""How pairs become token records: rendered, tokenised, and cut so that their sides still differ."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.harness.params import Params
from reward.harness.tables import parquet_writer, read_batches, read_schema
from reward.tokens.encoder import Encoder
from reward.tokens.prefix import Ids, common_prefix
from reward.tokens.records import TOKENS, TokenSettings
from reward.tokens.truncation import truncate

BATCH_ROWS = 1024  # pairs in memory at once, and in a row group of the output

# Tokens of prompt and response together. Chat templates take their part of them: Llama 3's takes 11
# for a question and its answer, so with less than this no word of either would be left.
MaxLength = Annotated[int, Field(ge=16)]


class Tokenize(Params):
    """The section `tokenize` of params.yaml."""

    prompt_floor: float = Field(ge=0, lt=1)
    """The share of max_length that truncation leaves to a prompt at least."""


class Encoding:
    """`encode` as a function of one batch that can be pickled: a copy opens the tokenizer's folder
    again, which must be at the same path there.
    """

    def __init__(self, settings: TokenSettings, encoder: Encoder) -> None:
        self._settings, self._encoder = settings, encoder

    def __reduce__(self) -> tuple[Any, ...]:
        # A compiled chat template cannot be pickled.
        return _reopened, (self._settings, self._encoder.folder.resolve())

    def __call__(self, batch: pa.RecordBatch) -> tuple[int, pa.RecordBatch]:
        """The number of pairs in a batch, and its token records."""
        return len(batch), encode(self._settings, self._encoder, batch)


def _reopened(settings: TokenSettings, folder: Path) -> Encoding:
    return Encoding(settings, Encoder(folder))


InOrder = Callable[[Encoding, Iterable[pa.RecordBatch]], Iterator[tuple[int, pa.RecordBatch]]]


def write_tokens(
    pairs: Path,
    encoder: Encoder,
    settings: TokenSettings,
    tokens: Path,
    in_order: InOrder = map,
) -> int:
    """Write the token records of a file of preferences (reward.pairs.preference.SCHEMA).

    in_order: what sends the batches through `encode`, as `map` does (reward.harness.engine). The
    bytes that are written do not depend on it.
    Returns the number of pairs that were left out: those whose sides differ as text but not as
    tokens, from which nothing can be learned. Raises InputError where no pair is left.
    """
    schema, total = settings.schema(), read_schema(pairs)[1]
    with (
        parquet_writer(tokens, schema, use_dictionary=False) as sink,
        tqdm(
            desc=f"tokenize {tokens.stem}",
            total=total,
            unit=" pairs",
            disable=None,  # no bar where stderr is not a terminal
        ) as progress,
    ):
        left_out = 0
        batches = read_batches(pairs, BATCH_ROWS)
        for count, records in in_order(Encoding(settings, encoder), batches):
            sink.write_batch(records.cast(schema))
            left_out += count - len(records)
            progress.update(count)
    if left_out == total:
        raise InputError(
            f"No pair of {pairs} has sides that differ as tokens: "
            f"choose a backbone whose tokenizer knows the language of the data."
        )
    if left_out:
        print(f"{pairs}: {left_out:,} pairs left out, same tokens on both sides", file=sys.stderr)
    return left_out


def encode(settings: TokenSettings, encoder: Encoder, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The token records of a batch of preferences, without the pairs whose sides are the same."""
    sides = zip(batch["chosen"].to_pylist(), batch["rejected"].to_pylist(), strict=True)
    encoded = encoder.encode(batch["prompt"].to_pylist(), list(sides))
    differs = [not np.array_equal(chosen, rejected) for _, (chosen, rejected) in encoded]
    ids: tuple[list[Ids], list[Ids]] = [], []
    lengths = []
    for prompt, responses in compress(encoded, differs):
        short = truncate(
            prompt, responses, settings.max_length, settings.prompt_floor, encoder.starts
        )
        for side, response in zip(ids, short.responses, strict=True):
            side.append(np.concatenate([short.prompt, response]))
        lengths.append(
            (
                common_prefix(ids[0][-1], ids[1][-1]),
                len(prompt),
                *map(len, responses),
                len(prompt) + common_prefix(*responses),
            )
        )
    kept = batch.filter(pa.array(differs))
    return pa.record_batch(
        [
            kept["pair_id"],
            *map(to_lists, ids),
            *np.array(lengths, dtype=np.int32).reshape(-1, 5).T,
            kept["chosen_rating"],
            kept["rejected_rating"],
        ],
        names=TOKENS.names,
    )


def to_lists(rows: list[Ids]) -> pa.ListArray:
    """Arrays of ids as one list column."""
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate([*rows, np.empty(0, dtype=np.int32)]))
