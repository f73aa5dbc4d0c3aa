"""The token records of data/tokens and data/testsets: their columns and how texts were cut."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Token(StrEnum):
    """The columns of a token record, which is one pair. Lengths are in tokens."""

    PAIR_ID = "pair_id"
    PROMPT_ID = "prompt_id"
    """Equal ids, same prompt (reward.pairs.preference.prompt_id), however it was cut."""
    CHOSEN_IDS = "chosen_ids"
    """Prompt and chosen response after truncation; TRL's RewardTrainer takes it by this name."""
    REJECTED_IDS = "rejected_ids"
    PREFIX_LENGTH = "prefix_length"
    """How many ids chosen_ids and rejected_ids begin with alike."""
    PROMPT_TOKENS = "prompt_tokens"
    """Length before truncation, as are the next three."""
    CHOSEN_TOKENS = "chosen_tokens"
    """Length of the response alone."""
    REJECTED_TOKENS = "rejected_tokens"
    SHARED_TOKENS = "shared_tokens"
    """How many tokens the whole texts of both sides begin with alike."""
    CHOSEN_RATING = "chosen_rating"
    """Null where the pair has no ratings."""
    REJECTED_RATING = "rejected_rating"


TOKENS = pa.schema(
    [
        (Token.PAIR_ID, pa.string()),
        (Token.PROMPT_ID, pa.string()),
        (Token.CHOSEN_IDS, pa.list_(pa.int32())),
        (Token.REJECTED_IDS, pa.list_(pa.int32())),
        (Token.PREFIX_LENGTH, pa.int32()),
        (Token.PROMPT_TOKENS, pa.int32()),
        (Token.CHOSEN_TOKENS, pa.int32()),
        (Token.REJECTED_TOKENS, pa.int32()),
        (Token.SHARED_TOKENS, pa.int32()),
        (Token.CHOSEN_RATING, pa.float64()),
        (Token.REJECTED_RATING, pa.float64()),
    ]
)


def numbered(names: pa.ChunkedArray) -> NDArray[np.int64]:
    """A number for each of a column of texts, from 0 on in the order in which they first come."""
    return names.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)


class TokenSettings(NamedTuple):
    """How the texts of a token file were cut; its metadata records it."""

    max_length: int
    """Tokens of prompt and response together."""
    prompt_floor: float
    """The share of max_length that truncation leaves to a prompt at least."""

    def schema(self) -> pa.Schema:
        """TOKENS with these settings as metadata."""
        return TOKENS.with_metadata({name: str(value) for name, value in self._asdict().items()})

    @classmethod
    def of(cls, schema: pa.Schema) -> Self:
        """The settings that a token file's schema has. Raises KeyError where it has none."""
        metadata = schema.metadata or {}
        return cls(int(metadata[b"max_length"]), float(metadata[b"prompt_floor"]))


CHAT_TEMPLATE = "chat_template"
"""The key of a token file's metadata that has the template, where it is not the backbone's own."""
COUNTS = "counts"
"""The key that has `LeftOut`, where there is anything to be counted."""
SAME_TOKENS, REFUSED = "same_tokens", "refused_by_the_chat_template"
PROMPT_LEFT_OUT, ANSWER_LEFT_OUT = "prompt_text_left_out", "answer_text_left_out"
"""Pairs with text that the chat template leaves out or changes (reward.tokens.left_out)."""


class LeftOut(NamedTuple):
    """What became of the pairs that a token file was made of, beside those that it holds."""

    same_tokens: int
    """Left out, as their sides are the same tokens."""
    refused: int
    """Left out, as the chat template refuses them."""
    kept_with: Counter[str]
    """By problem, pairs that are kept with it."""

    def dropped(self) -> dict[str, int]:
        """The pairs that were left out, by reason."""
        counts = {SAME_TOKENS: self.same_tokens, REFUSED: self.refused}
        return {reason: count for reason, count in counts.items() if count}

    def notes(self) -> dict[str, str]:
        """What goes into the file's metadata, but same_tokens, which follow from the rest."""
        if not self.refused and not self.kept_with:
            return {}
        return {COUNTS: json.dumps([self.refused, dict(sorted(self.kept_with.items()))])}

    @classmethod
    def of(cls, notes: Mapping[str, str], missing: int) -> Self:
        """The counts in a file's metadata; missing: pairs that did not become records."""
        refused, kept_with = json.loads(notes.get(COUNTS, "[0, {}]"))
        return cls(missing - refused, refused, Counter(kept_with))

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """Those of several files together."""
        same, refused, kept_with = zip(*parts, strict=True)
        return cls(sum(same), sum(refused), sum(kept_with, Counter()))
