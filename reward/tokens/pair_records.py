"""How a batch of pairs becomes token records, each group of answers to one prompt together.

Pairs of one prompt that stand next to each other and have rated answers in common (K answers that
are compared with one another) are one group: each answer is tokenised once, and all are cut with
the same prompt, so that an answer has the same ids in all of the group's pairs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from reward.harness.linked import linked
from reward.pairs.preference import prompt_id
from reward.tokens.encoder import Encoder
from reward.tokens.prefix import Ids, common_prefix
from reward.tokens.records import ANSWER_LEFT_OUT, PROMPT_LEFT_OUT, TOKENS, TokenSettings
from reward.tokens.rendering import RefusedError
from reward.tokens.truncation import Encoded, truncate

EXCERPT = 60  # characters of a prompt in a sentence


class Done(NamedTuple):
    """What a batch of pairs gave."""

    pairs: int
    records: pa.RecordBatch
    refused: int
    """Pairs that are left out because the template refuses them."""
    example: str
    """What was said of the first of them."""
    counts: Counter[str]
    """By problem (below), the pairs that are kept with it."""


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


def encode(
    settings: TokenSettings, encoder: Encoder, batch: pa.RecordBatch, *, stops: bool
) -> Done:
    """The token records of a batch of preferences, without the pairs whose sides are the same.

    Raises RefusedError, which names the pair, where the template refuses one and `stops`.
    """
    prompts = batch["prompt"].to_pylist()
    texts = list(zip(batch["chosen"].to_pylist(), batch["rejected"].to_pylist(), strict=True))
    groups: dict[int, list[int]] = {}
    for row, first in enumerate(_groups(batch)):
        groups.setdefault(first, []).append(row)
    answers = [  # each once, in the order in which they come
        list(dict.fromkeys(chain.from_iterable(texts[row] for row in rows)))
        for rows in groups.values()
    ]
    encoded = encoder.encode_each([prompts[first] for first in groups], answers)
    records: dict[int, Record] = {}
    refused, example, counts = 0, "", Counter[str]()
    for rows, names, whole in zip(groups.values(), answers, encoded, strict=True):
        if isinstance(whole, RefusedError):
            named = _naming(whole, batch.slice(rows[0], 1).to_pylist()[0])
            if stops:
                raise named
            refused, example = refused + len(rows), example or named.problem
            continue
        number = {text: place for place, text in enumerate(names)}
        pairs = [
            (number[chosen], number[rejected]) for chosen, rejected in (texts[r] for r in rows)
        ]
        cut = cut_pairs(settings, encoder, whole.encoded, pairs)
        for row, places, record in zip(rows, pairs, cut, strict=True):
            if record:
                records[row] = record
                counts[PROMPT_LEFT_OUT] += whole.prompt_left_out
                counts[ANSWER_LEFT_OUT] += any(whole.answers_left_out[place] for place in places)
    kept = batch.filter(pa.array([row in records for row in range(len(batch))]))
    rows_kept = sorted(records)
    in_order = [records[row] for row in rows_kept]
    ids = [prompt_id((turn["role"], turn["content"]) for turn in prompts[row]) for row in rows_kept]
    table = pa.record_batch(
        [
            kept["pair_id"],
            pa.array(ids, pa.string()),
            to_lists([record.chosen for record in in_order]),
            to_lists([record.rejected for record in in_order]),
            *np.array([r.lengths for r in in_order], dtype=np.int32).reshape(-1, 5).T,
            kept["chosen_rating"],
            kept["rejected_rating"],
        ],
        names=TOKENS.names,
    )
    return Done(len(batch), table, refused, example, +counts)


def _naming(refused: RefusedError, pair: dict[str, Any]) -> RefusedError:
    """The same error for a pair of reward.pairs.preference.SCHEMA, by which a user finds it."""
    asked = pair["prompt"][-1]["content"][:1000]
    begins = " ".join(asked.split())[:EXCERPT]
    merge = "merge (turns that it does not take become part of the user's) or to "
    return RefusedError(
        f"{refused.problem}, for one: the pair {pair['pair_id']} of {pair['source']}, whose last "
        f'turn begins "{begins}"',
        f"{refused.cure}, or set tokenize.refused to {merge if refused.merging_helps else ''}drop "
        f"(such pairs are left out)",
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
