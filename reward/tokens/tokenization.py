"""Files of token records: a split's pairs rendered, tokenised and cut, batch by batch."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from reward.harness.errors import InputError, printable
from reward.harness.tables import parquet_writer, read_batches, read_schema
from reward.tokens.encoder import Encoder
from reward.tokens.merging import merging_encoder
from reward.tokens.pair_records import Done, encode, whole_groups
from reward.tokens.records import (
    ANSWER_LEFT_OUT,
    CHAT_TEMPLATE,
    PROMPT_LEFT_OUT,
    LeftOut,
    TokenSettings,
)
from reward.tokens.settings import Tokenize

# Pairs in memory at once, and in a row group of the output; more where a group would be cut apart.
BATCH_ROWS = 1024


def open_encoder(backbone: Path, params: Tokenize) -> Encoder:
    """The encoder of a backbone's folder, which merges turns where `refused` says so."""
    return merging_encoder(backbone) if params.refused == "merge" else Encoder(backbone)


class Encoding:
    """`encode` as a function of one batch that can be pickled: a copy opens the tokenizer's folder
    again, which must be at the same path there.
    """

    def __init__(self, settings: TokenSettings, encoder: Encoder, *, stops: bool = True) -> None:
        """stops: whether a pair that the template refuses raises its error."""
        self._settings, self._encoder, self._stops = settings, encoder, stops

    def __reduce__(self) -> tuple[Any, ...]:
        # A compiled chat template cannot be pickled.
        template = self._encoder.chat_template if self._encoder.replaced else None
        folder = self._encoder.folder.resolve()
        return _reopened, (self._settings, folder, template, self._stops)

    def __call__(self, batch: pa.RecordBatch) -> Done:
        """The token records of a batch, and what became of the other pairs."""
        return encode(self._settings, self._encoder, batch, stops=self._stops)


def _reopened(settings: TokenSettings, folder: Path, template: str | None, stops: bool) -> Encoding:
    return Encoding(settings, Encoder(folder, chat_template=template), stops=stops)


InOrder = Callable[[Encoding, Iterable[pa.RecordBatch]], Iterator[Done]]


def write_tokens(
    pairs: Path,
    encoder: Encoder,
    params: Tokenize,
    max_length: int,
    tokens: Path,
    in_order: InOrder = map,
) -> LeftOut:
    """Write the token records of a file of preferences (reward.pairs.preference.SCHEMA).

    encoder: that of params. in_order: what sends the batches through `encode`, as `map` does
    (reward.harness.engine). The bytes that are written do not depend on it.
    Returns how many pairs were left out, by reason, and kept with a problem. Left out are those
    whose sides differ as text but not as tokens, from which nothing can be learned, and those that
    the chat template refuses, where params do not stop there: then RefusedError names the first.
    Raises InputError where no pair is left.
    """
    settings, total = TokenSettings(max_length, params.prompt_floor), read_schema(pairs)[1]
    schema = settings.schema()
    template = {CHAT_TEMPLATE: encoder.chat_template} if encoder.replaced else {}
    work = Encoding(settings, encoder, stops=params.refused == "stop")
    refused, example, kept_with = 0, "", Counter[str]()
    with (
        parquet_writer(tokens, schema, use_dictionary=False) as sink,
        tqdm(
            desc=f"tokenize {tokens.stem}",
            total=total,
            unit=" pairs",
            disable=None,  # no bar where stderr is not a terminal
        ) as progress,
    ):
        kept = 0
        for done in in_order(work, whole_groups(read_batches(pairs, BATCH_ROWS))):
            sink.write_batch(done.records.cast(schema))
            kept += len(done.records)
            refused += done.refused
            example = example or done.example
            kept_with += done.counts
            progress.update(done.pairs)
        same = total - kept - refused
        left = LeftOut(same, refused, kept_with)
        if notes := left.notes() | template:
            sink.add_key_value_metadata(notes)
    _tell(pairs, left, example)
    if not kept:
        raise InputError(
            f"No pair of {pairs} has sides that differ as tokens: "
            f"choose a backbone whose tokenizer knows the language of the data."
            if same
            else f"The chat template in {encoder.folder} refuses every pair of {pairs}: choose "
            f"another backbone."
        )
    return left


def _tell(pairs: Path, left: LeftOut, example: str) -> None:
    """Say on stderr what was left out, of pairs and of their texts."""
    if left.same_tokens:
        print(
            f"{pairs}: {left.same_tokens:,} pairs left out, same tokens on both sides",
            file=sys.stderr,
        )
    if left.refused:
        print(f"{pairs}: {left.refused:,} pairs left out: {printable(example)}", file=sys.stderr)
    for kind, what in ((PROMPT_LEFT_OUT, "prompt"), (ANSWER_LEFT_OUT, "answers")):
        if count := left.kept_with[kind]:
            print(
                f"{pairs}: of {count:,} pairs the chat template leaves out or changes text of the "
                f"{what}, as some do with all before </think>: the model does not read it",
                file=sys.stderr,
            )
