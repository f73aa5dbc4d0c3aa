"""The sections of params.yaml that say what is measured of a trained model."""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from reward.harness.params import Params, TokenBudget


class Evaluate(Params):
    """The `evaluate` section of params.yaml, where each value is explained."""

    micro_batch_tokens: TokenBudget
    confidence: Annotated[float, Field(gt=0, lt=1)]
    calibration_bins: PositiveInt
    rating_gaps: tuple[PositiveFloat, PositiveFloat]
    response_lengths: tuple[int, int]
    similar_length: Annotated[float, Field(ge=0, le=1)]
    bag_of_words_strength: PositiveFloat
    bag_of_words_pairs: PositiveInt

    @model_validator(mode="after")
    def bounds_rise(self) -> Self:
        """A group ends where the next begins."""
        bounds = {"rating_gaps": self.rating_gaps, "response_lengths": self.response_lengths}
        for name, (first, second) in bounds.items():
            if not 0 < first < second:
                raise ValueError(f"{name}=[{first}, {second}] must rise, from above 0")
        return self


class Checks(Params):
    """The section `checks` of params.yaml, where each value is explained."""

    pairs: PositiveInt
    filler_sentences: PositiveInt
    micro_batch_tokens: TokenBudget
    confidence: Annotated[float, Field(gt=0, lt=1)]
    resamples: Annotated[int, Field(ge=100)]
