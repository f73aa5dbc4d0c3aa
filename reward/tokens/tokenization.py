"""How pairs become token records: rendered, tokenised, and cut so that their sides still differ.

Pairs of one prompt that stand next to each other and have rated answers in common (K answers that
are compared with one another) are one group: each answer is tokenised once, and all are cut with
the same prompt, so that an answer has the same ids in all of the group's pairs.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.harness.linked import linked
from reward.harness.params import Params
from reward.harness.tables import parquet_writer, read_batches, read_schema
from reward.tokens.encoder import Encoder
from reward.tokens.prefix import Ids, common_prefix
from reward.tokens.records import TOKENS, TokenSettings
from reward.tokens.truncation import Encoded, truncate

# Pairs in memory at once, and in a row group of the output; more where a group would be cut apart.
BATCH_ROWS = 1024

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
        batches = whole_groups(read_batches(pairs, BATCH_ROWS))
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


def whole_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same preferences in order; a batch is longer where a group would be cut apart."""
    held: pa.RecordBatch | None = None
    for batch in batches:
        if held is not None:
            if held["prompt"][-1].as_py() == batch["prompt"][0].as_py():
                both, end = pa.concat_batches([held, batch]), len(held)
                for row, first in enumerate(_groups(both)):
                    if first < end:
                        end = max(end, row + 1)
                held, batch = both[:end], both[end:]
                if not len(batch):  # the group may go on
                    continue
            yield held
        held = batch
    if held is not None:
        yield held


def _groups(batch: pa.RecordBatch) -> list[int]:
    """For each preference of a batch the row of the first one in its group."""
    prompts = batch["prompt"].to_pylist()
    changes = [prompt != before for before, prompt in pairwise(prompts)]
    runs = np.cumsum([False, *changes]).tolist()  # of rows with the same prompt, numbered
    sides = []
    for side in ("chosen", "rejected"):
        answers = zip(
            runs, batch[side].to_pylist(), batch[f"{side}_rating"].to_pylist(), strict=True
        )
        sides.append([None if answer[2] is None else answer for answer in answers])
    return linked(zip(*sides, strict=True))


def encode(settings: TokenSettings, encoder: Encoder, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The token records of a batch of preferences, without the pairs whose sides are the same."""
    prompts = batch["prompt"].to_pylist()
    texts = list(zip(batch["chosen"].to_pylist(), batch["rejected"].to_pylist(), strict=True))
    groups: dict[int, list[int]] = {}
    for row, first in enumerate(_groups(batch)):
        groups.setdefault(first, []).append(row)
    answers = [  # each once, in the order in which they come
        list(dict.fromkeys(chain.from_iterable(texts[row] for row in rows)))
        for rows in groups.values()
    ]
    encoded = encoder.encode([prompts[first] for first in groups], answers)
    records: dict[int, Record] = {}
    for rows, names, whole in zip(groups.values(), answers, encoded, strict=True):
        number = {text: place for place, text in enumerate(names)}
        pairs = [
            (number[chosen], number[rejected]) for chosen, rejected in (texts[r] for r in rows)
        ]
        cut = cut_pairs(settings, encoder, whole, pairs)
        records |= {row: record for row, record in zip(rows, cut, strict=True) if record}
    kept = batch.filter(pa.array([row in records for row in range(len(batch))]))
    in_order = [records[row] for row in sorted(records)]
    return pa.record_batch(
        [
            kept["pair_id"],
            to_lists([record.chosen for record in in_order]),
            to_lists([record.rejected for record in in_order]),
            *np.array([r.lengths for r in in_order], dtype=np.int32).reshape(-1, 5).T,
            kept["chosen_rating"],
            kept["rejected_rating"],
        ],
        names=TOKENS.names,
    )


class Record(NamedTuple):
    """What a token record has of a pair's texts."""

    chosen: Ids
    rejected: Ids
    lengths: tuple[int, ...]
    """prefix_length to shared_tokens, as in reward.tokens.records."""


def cut_pairs(
    settings: TokenSettings, encoder: Encoder, whole: Encoded, pairs: Sequence[tuple[int, int]]
) -> Iterator[Record | None]:
    """The records of the pairs of one group; None for a pair whose sides are the same tokens.

    whole: its prompt and answers. pairs: the places of chosen and rejected among these answers.
    All are cut together; a pair whose sides would become equal is cut by itself.
    """

    def cut(responses: Sequence[Ids]) -> list[Ids]:
        short = truncate(
            whole.prompt, responses, settings.max_length, settings.prompt_floor, encoder.starts
        )
        return [np.concatenate([short.prompt, response]) for response in short.responses]

    together: list[Ids] | None = None
    for places in pairs:
        responses = [whole.responses[place] for place in places]
        if np.array_equal(responses[0], responses[1]):
            yield None
            continue
        together = cut(whole.responses) if together is None else together
        chosen, rejected = (together[place] for place in places)
        if np.array_equal(chosen, rejected):
            chosen, rejected = cut(responses)
        lengths = (
            common_prefix(chosen, rejected),
            len(whole.prompt),
            *map(len, responses),
            len(whole.prompt) + common_prefix(*responses),
        )
        yield Record(chosen, rejected, lengths)


def to_lists(rows: list[Ids]) -> pa.ListArray:
    """Arrays of ids as one list column."""
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, np.concatenate([*rows, np.empty(0, dtype=np.int32)]))
