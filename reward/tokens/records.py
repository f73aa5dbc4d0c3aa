"""The token records of data/tokens and data/testsets: their columns and how texts were cut."""

from enum import StrEnum
from typing import NamedTuple, Self

import pyarrow as pa


class Token(StrEnum):
    """The columns of a token record, which is one pair. Lengths are in tokens."""

    PAIR_ID = "pair_id"
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
