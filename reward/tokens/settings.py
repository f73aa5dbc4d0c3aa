"""The sections of params.yaml that say how pairs become tokens, and how these are counted."""

from typing import Annotated, Literal

from pydantic import Field

from reward.harness.params import Params

# Tokens of prompt and response together. Chat templates take their part of them: Llama 3's takes 11
# for a question and its answer, so with less than this no word of either would be left.
MaxLength = Annotated[int, Field(ge=16)]


class Tokenize(Params):
    """The section `tokenize` of params.yaml."""

    prompt_floor: float = Field(ge=0, lt=1)
    """The share of max_length that truncation leaves to a prompt at least."""
    refused: Literal["stop", "merge", "drop"]
    """What becomes of a pair that the chat template refuses."""


class Stats(Params):
    """The section `stats` of params.yaml."""

    bin_width: int = Field(gt=0)
    """Tokens per bar of the length histogram."""
    last_bin: int = Field(gt=0)
    """Tokens from which on all lengths are counted in one last bar."""
