"""tokenize: turn every pair into token ids and truncate them so that its sides still differ."""

import sys
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from tqdm import tqdm

from reward.encoding import Encoder, check_length
from reward.stage import InputError, Params, run, whole
from reward.truncation import Ids, common_prefix, truncate

BATCH_ROWS = 1024  # pairs in memory at once, and in a row group of the output

TOKENS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("chosen_ids", pa.list_(pa.int32())),  # prompt and response, after truncation
        ("rejected_ids", pa.list_(pa.int32())),
        ("prefix_length", pa.int32()),  # ids that chosen_ids and rejected_ids begin with alike
        ("prompt_tokens", pa.int32()),  # before truncation, as are the next three
        ("chosen_tokens", pa.int32()),  # without the prompt
        ("rejected_tokens", pa.int32()),
        ("shared_tokens", pa.int32()),  # that the whole texts of both sides begin with alike
        ("chosen_rating", pa.float64()),
        ("rejected_rating", pa.float64()),
    ]
)


class Tokenize(Params):
    """The section `tokenize` of params.yaml."""

    prompt_floor: float = Field(ge=0, lt=1)
    """Of max_length: as much of a prompt truncation leaves at least."""


class TokenizeParams(Params):
    """What tokenize reads from params.yaml."""

    max_length: int = Field(ge=2)
    """Tokens of prompt and response together."""
    tokenize: Tokenize


def tokenize(params: TokenizeParams, splits: Path, backbone: Path, tokens: Path) -> None:
    """Write train.parquet and validation.parquet, in the order of `splits`, to `tokens`.

    Their metadata has max_length and prompt_floor. Raises InputError where max_length exceeds the
    backbone's positions or its chat template refuses a conversation; then nothing is written.
    """
    check_length(params.max_length, backbone)
    encoder = Encoder(backbone)
    with whole(tokens) as folder:
        folder.mkdir()
        for side in ("train", "validation"):
            write(params, encoder, splits / f"{side}.parquet", folder / f"{side}.parquet")


def write(params: TokenizeParams, encoder: Encoder, pairs: Path, tokens: Path) -> None:
    """Write the token records of a file of preferences.

    Pairs whose sides differ as text but not as tokens teach nothing and are left out; stats counts
    them.
    """
    schema = TOKENS.with_metadata(
        {
            "max_length": str(params.max_length),
            "prompt_floor": str(params.tokenize.prompt_floor),
        }
    )
    with (
        # pre_buffer would keep all that was read in memory.
        pq.ParquetFile(pairs, pre_buffer=False) as source,
        pq.ParquetWriter(tokens, schema, compression="zstd", use_dictionary=False) as sink,
        tqdm(
            desc=f"tokenize {tokens.stem}",
            total=source.metadata.num_rows,
            unit=" pairs",
            disable=None,  # no bar where stderr is not a terminal
        ) as progress,
    ):
        left_out = 0
        for batch in source.iter_batches(BATCH_ROWS):
            records = encode(params, encoder, batch)
            sink.write_batch(records.cast(schema))
            left_out += len(batch) - len(records)
            progress.update(len(batch))
    if left_out == source.metadata.num_rows:
        raise InputError(
            f"No pair of {pairs} has sides that differ as tokens: "
            f"choose a backbone whose tokenizer knows the language of the data."
        )
    if left_out:
        print(f"{pairs}: {left_out:,} pairs left out, same tokens on both sides", file=sys.stderr)


def encode(params: TokenizeParams, encoder: Encoder, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Encode and truncate a batch of preferences."""
    sides = zip(batch["chosen"].to_pylist(), batch["rejected"].to_pylist(), strict=True)
    encoded = encoder.encode(batch["prompt"].to_pylist(), list(sides))
    differs = [not np.array_equal(chosen, rejected) for _, (chosen, rejected) in encoded]
    ids: tuple[list[Ids], list[Ids]] = [], []
    lengths = []
    for prompt, responses in compress(encoded, differs):
        short = truncate(
            prompt,
            responses,
            params.max_length,
            params.tokenize.prompt_floor,
            encoder.starts,
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


if __name__ == "__main__":
    run(tokenize, TokenizeParams)
