"""The entries of `datasets` in params.yaml: where pairs come from and how their rows are read."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from reward.harness.params import Params

Format = Literal[
    "pairs",
    "transcripts",
    "strength",
    "labels",
    "scores",
    "scored-lists",
    "ranked-lists",
    "ratings",
    "trees",
    "branches",
]
Winner = Literal["response_1", "response_2", "tie"]
Scoring = Literal["pairs", "rewardbench", "rewardbench-2", "rm-bench", "judgebench"]


def _by_text(labels: Any) -> Any:
    # YAML reads 1 and true as what they are; a label is a text whatever it looks like.
    return (
        {str(key): value for key, value in labels.items()} if isinstance(labels, dict) else labels
    )


class _Reading(Params):
    """How the rows of a dataset are found and read; reward.pairs.formats describes the formats."""

    config: str | None = None
    """Hub and folders: the configuration, where there are several and none is the default."""
    split: str | None = None
    """Hub and folders: the split, where there are several."""
    data_dir: str | None = None
    """Hub and folders: the folder in it that alone is read."""
    data_files: str | list[str] | None = None
    """Hub and folders: the files, or patterns of them, that alone are read."""
    revision: str | None = None
    """Hub only: a branch, tag or commit; None is the main branch."""
    format: Format | None = None
    """The shape of its rows; None finds it out from the first rows."""
    columns: dict[str, str] = Field(default_factory=dict)
    """From the name that the format knows to the dataset's own, where they differ; a name with dots
    leads into a column (info.post), one with a * at its end to all that go on with a number."""
    attributes: dict[str, float] | None = None
    """Ratings only: the weight of each attribute column in a response's rating, which is their
    weighted mean; None weighs HelpSteer's five attributes alike."""
    better: Literal["higher", "lower", "first", "last"] | None = None
    """Which scores, ratings or ranks are of better answers, higher or lower ones (lower ones then
    count below zero); in the format strength, which numbers speak for response_1; in ranked-lists,
    whether the first or the last answer is the best. None goes by the column's name: a rank is
    better if lower, the first of a ranked list is the best, a negative strength speaks for
    response_1, all else is better if higher."""
    labels: Annotated[dict[str, Winner], BeforeValidator(_by_text)] | None = None
    """Labels only: which answer each label names, or that it is a tie; None goes by the columns'
    names (reward.pairs.labels)."""
    comparisons: Literal["best-worst", "all"] | None = None
    """Lists, branches, ratings and trees: which responses to one prompt make pairs. None is
    best-worst for lists and branches, and all for ratings and trees."""
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
    """A file on this machine (reward.sources.places.CONTAINERS), a pattern of such files
    (shards/*.jsonl), a folder of them or of `save_to_disk`, or a dataset repository of the hub."""


TestsetName = Annotated[str, Field(pattern="^[a-z0-9_-]+$")]  # of a metric and of a file


class Testset(Dataset):
    """One entry of `testsets`."""

    enabled: bool = True
    """Whether it is read; a repository of an entry that is not is never asked for."""
    subset: str | None = Field(default=None, min_length=1)
    """The column that says to which part of the set a row belongs."""
    item: str | None = Field(default=None, min_length=1)
    """rewardbench-2 only: the column that says which rows of Ties belong together."""
    scoring: Scoring = "pairs"
    """The rule that makes one score of it (reward.evaluation.benchmarks); pairs: none."""

    @model_validator(mode="after")
    def _has_what_its_rule_reads(self) -> Self:
        if self.scoring != "pairs" and self.subset is None:
            raise ValueError(f"scoring: {self.scoring} goes by subsets; name their column: subset")
        if (self.scoring == "rewardbench-2") != (self.item is not None):
            raise ValueError(
                "item goes with scoring: rewardbench-2, which brings rows of Ties together by it; "
                "give both or neither"
            )
        return self


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
