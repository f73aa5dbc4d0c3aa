"""The sections of params.yaml that say which pairs there are, and on which side of the split."""

from typing import Literal

from pydantic import Field

from reward.harness.params import Params

Action = Literal["drop", "count", "ignore"]


class Quality(Params):
    """The section `quality` of `download` in params.yaml, by kind of problem.

    drop leaves the pair out, count keeps it, and both are counted; ignore does not search for it.
    """

    empty_prompt: Action
    """The prompt is nothing but white space and characters without width."""
    empty_response: Action
    """A response is nothing but white space and characters without width."""
    identical_responses: Action
    """Chosen and rejected are the same but for white space, or what has no width, around them."""
    tie: Action
    """Both ratings are equal, and the data calls one response chosen nevertheless."""
    rating_contradicts_order: Action
    """The rejected response is rated higher."""
    earlier_turns_differ: Action
    """What the assistant said before the two answers differs; the prompt has the chosen side's."""
    repeats_prompt: Action
    """A response begins with the whole last turn of the prompt."""
    control_characters: Action
    """Some text has control characters beside tabs and line ends."""
    replacement_characters: Action
    """Some text has U+FFFD, the mark of bytes that could not be decoded."""
    control_tokens: Action
    """Some text has control tokens of the backbone or what its chat template puts between turns."""
    contradiction: Action
    """Another pair has the same two responses with the other one chosen; drop leaves out both."""
    duplicate: Action
    """Another pair is the same; one of them stays."""


class Download(Params):
    """The section `download` of params.yaml: which rows give a pair."""

    unreadable_rows: int = Field(ge=0)
    """Lines of all files together that may be left out because they cannot be read."""
    quality: Quality


class Split(Params):
    """The section `split` of params.yaml."""

    validation_share: float = Field(gt=0, lt=1)
    """The share of the pairs that is held out."""
    near_duplicates: Action
    """What becomes of a training pair whose prompt is nearly a validation prompt."""
    similarity: float = Field(ge=0.7, le=1)
    """From this Jaccard similarity of their word triples on, two prompts are nearly the same."""
