"""The entries of `datasets` in params.yaml: where pairs come from and how their rows are read."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from reward.harness.params import Params

Format = Literal["pairs", "transcripts", "ratings", "scored-lists", "strength"]


class _Reading(Params):
    """How the rows of a dataset are found and read; reward.pairs.formats describes the formats."""

    config: str | None = None
    """Hub only: the configuration, where the repository has several and none is the default."""
    split: str | None = None
    """Hub only: the split, where the repository has several."""
    revision: str | None = None
    """Hub only: a branch, tag or commit; None is the main branch."""
    format: Format | None = None
    """The shape of its rows; None finds it out from the first rows."""
    columns: dict[str, str] = Field(default_factory=dict)
    """From the name that the format knows to the dataset's own, where they differ."""
    attributes: dict[str, float] | None = None
    """Ratings only: the weight of each attribute column in a response's rating, which is their
    weighted mean; None weighs HelpSteer's five attributes alike."""
    comparisons: Literal["best-worst", "all"] | None = None
    """Scored lists and ratings: which responses to one prompt make pairs. None is best-worst for
    scored lists and all for ratings."""
    weight: float | None = Field(default=None, gt=0, le=1)
    """The share of its valid pairs that is taken; None takes all."""

    @field_validator("attributes")
    @classmethod
    def _has_a_mean(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        # A negative weight is fine (verbosity as a fault), a mean over nothing is none.
        if weights is not None and sum(weights.values()) <= 0:
            raise ValueError("the weights of the attributes must sum to more than 0")
        return weights


class Dataset(_Reading):
    """One dataset of a source of its own."""

    source: str = Field(min_length=1)
    """A .jsonl, .jsonl.gz or .parquet file on this machine, a pattern of such files
    (shards/*.jsonl), or a dataset repository of the hub."""


def _whole(part: Any) -> Any:
    if not isinstance(part, dict | Dataset) or (isinstance(part, dict) and "source" not in part):
        raise ValueError(
            "a mix holds its datasets whole, and here is a weight for one that it does not "
            "describe; write it as {source: ..., weight: ...} or remove it"
        )
    return part


class DatasetEntry(_Reading):
    """One entry of `datasets`: a dataset, or a mix of several that stand in it by name."""

    source: str | None = Field(default=None, min_length=1)
    mix: dict[str, Annotated[Dataset, BeforeValidator(_whole)]] | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.source is None) == (not self.mix):
            raise ValueError("an entry has either a `source` or a `mix` of datasets; give one")
        if self.mix and self.model_fields_set != {"mix"}:
            raise ValueError("beside a `mix` nothing is read; put the other keys into its datasets")
        return self

    def parts(self, name: str) -> dict[str, Dataset]:
        """The datasets of this entry by name; `name` is the entry's own."""
        if self.mix:
            return self.mix
        return {name: Dataset(**self.model_dump(exclude={"mix"}))}
