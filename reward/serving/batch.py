"""Rewards of batches: for Ray Data's map_batches, datasets' map, Spark's mapInArrow.

    from reward.serving.batch import BatchScorer

    scorer = BatchScorer("data/model")
    dataset.with_format("arrow").map(scorer, batched=True, batch_size=1024)        # datasets
    frame.mapInArrow(scorer.record_batches, schema)                                # Spark
    data.map_batches(                                                              # Ray Data
        BatchScorer, fn_constructor_args=("data/model",), batch_format="pyarrow", batch_size=1024,
        concurrency=8, max_restarts=-1, max_task_retries=-1,
    )

Importing this takes no torch; the first batch in a process opens the model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.pairs.rows import Row, rows_of
from reward.serving.questions import MANY, Question, columns_for, columns_read, read_question

if TYPE_CHECKING:
    from reward.serving.model import RewardModel

Batch = TypeVar("Batch", pa.Table, pa.RecordBatch, dict[str, Any])

CHUNK_ROWS = 1024  # rows in memory at once; within them, those of like length are batched
REASON = "reason"
CONTROL_TOKENS = "control_tokens"


class How(NamedTuple):
    """What is asked for of rows; reward.score.score says what each means."""

    normalise: bool = False
    refuse_control_tokens: bool = False


class BatchScorer:
    """Adds rewards to batches of rows. Pickled, it is a few paths and numbers, without the model.

    A batch is a pyarrow Table or RecordBatch, or a dict of columns (lists or arrays), with the
    columns of reward.serving.questions. It comes back as the same kind, with as many rows in the
    same order, and with float64 columns chosen_score and rejected_score, or score, or a list column
    scores; further a column `reason`. A row that cannot be scored has null for its rewards and says
    why in `reason`, which is null for the others, but control_tokens beside the rewards of a row
    whose texts hold some; in a dict, which has no types, "" stands for this null. Columns that have
    these names are replaced.

    A process that it is called in is taken to be a worker, which does little else: memory that
    tensors leave is kept for the next ones.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        normalise: bool = False,
        max_length: int | None = None,
        prompt_floor: float | None = None,
        refuse_control_tokens: bool = False,
    ) -> None:
        """Take note of what to score with; nothing is opened.

        model: a model's folder, at the same path in every process. normalise, max_length,
        prompt_floor, refuse_control_tokens: as for `reward.score.score` and RewardModel.open.
        """
        self._folder = Path(model).resolve()
        self._how = How(normalise, refuse_control_tokens)
        self._options = {"max_length": max_length, "prompt_floor": prompt_floor}
        # Part of the pickle, by which `datasets` finds rewards that it has cached: a model that was
        # trained again is another one.
        self._version = [(file.name, file.stat().st_mtime_ns) for file in _files(self._folder)]
        self._model: RewardModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}

    def __call__(self, batch: Batch) -> Batch:
        """The batch with its rewards.

        Raises InputError where it has no columns to be scored, where the folder holds no reward
        model, and where there is nothing to normalise by.
        """
        if self._model is None:
            self._model = open_in_worker(self._folder, **self._options)
        if isinstance(batch, Mapping):  # datasets gives one that reads its columns when asked
            columns = {name: batch[name] for name in batch}
            return _score_columns(self._model, columns, self._how)
        if isinstance(batch, pa.RecordBatch):
            return add_rewards(self._model, batch, self._how)
        whole = batch.combine_chunks().to_batches()  # rows of like length are computed together
        parts = [add_rewards(self._model, part, self._how) for part in whole]
        return pa.Table.from_batches(parts, scored_schema(batch.schema))

    def record_batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The same for a stream of RecordBatches, which is what Spark's mapInArrow gives."""
        return map(self, batches)


def open_in_worker(folder: Path, **options: Any) -> "RewardModel":
    """RewardModel.open in a process that does nothing but score: quiet, and quick with memory."""
    from reward.scoring.devices import keep_freed_memory
    from reward.scoring.quiet import quiet_transformers
    from reward.serving.model import RewardModel  # imports torch, which takes seconds

    keep_freed_memory()
    quiet_transformers()
    return RewardModel.open(folder, **options)


def scored_schema(schema: pa.Schema, name: str = "The batch") -> pa.Schema:
    """The schema of rows with their rewards; InputError naming them where they have none."""
    rewards = _rewards(schema.names, name)
    kept = [field for field in schema if field.name not in (*rewards, REASON)]
    added = [*(pa.field(name, reward_type(rewards)) for name in rewards), (REASON, pa.string())]
    return pa.schema([*kept, *added], metadata=schema.metadata)


def add_rewards(model: "RewardModel", batch: pa.RecordBatch, how: How) -> pa.RecordBatch:
    """A batch with its rewards and reasons: see BatchScorer."""
    schema = scored_schema(batch.schema)
    scored = score_batch(model, batch, how, None)
    found = [None if isinstance(row, UnusableError) else row for row in scored]
    rewards = columns_for(batch.schema.names)
    added: dict[str, list[Any]] = {name: [row and row[name] for row in found] for name in rewards}
    added[REASON] = [reason_of(model, row) for row in scored]
    columns = [
        pa.array(added[field.name], field.type) if field.name in added else batch[field.name]
        for field in schema
    ]
    return pa.record_batch(columns, schema=schema)


def score_batch(
    model: "RewardModel", batch: pa.RecordBatch, how: How, bar: "tqdm[Any] | None"
) -> list[Row | UnusableError]:
    """For each row of a batch what its rewards depend on, with the rewards, or why it has none."""
    rewards = columns_for(batch.schema.names)
    read = [name for name in columns_read(rewards) if name in batch.schema.names]
    rows = [UnusableError(r) if isinstance(r, str) else r for r in rows_of(batch.select(read))]
    return [*score_chunk(model, rows, how, bar)]


def score_rows(
    model: "RewardModel", rows: Iterable[Row | UnusableError], how: How, *, progress: bool
) -> Iterator[Row | UnusableError]:
    """Any number of rows, chunk by chunk, as `score_chunk` does; with a bar on stderr if wanted."""
    rest = iter(rows)
    with tqdm(desc="score", unit="row", disable=None if progress else True) as bar:
        while chunk := list(islice(rest, CHUNK_ROWS)):
            yield from score_chunk(model, chunk, how, bar)


def score_chunk(
    model: "RewardModel",
    rows: Sequence[Row | UnusableError],
    how: How,
    bar: "tqdm[Any] | None",
) -> Iterator[Row | UnusableError]:
    """The rows with their rewards, or in their place the reason why there are none."""
    read = [read_row(model, row, how) for row in rows]
    questions = [one for one in read if isinstance(one, Question)]
    if bar is not None:
        bar.update(len(rows) - len(questions))
    rewards = iter(model.rewards(questions, bar))
    for row, question in zip(rows, read, strict=True):
        if isinstance(question, UnusableError):
            yield question
            continue
        columns = as_columns(model, question, next(rewards), how)
        yield columns if isinstance(columns, UnusableError) else cast(Row, row) | columns


def as_columns(
    model: "RewardModel", question: Question, found: np.ndarray | UnusableError, how: How
) -> Row | UnusableError:
    """A question's rewards, (answers,), as columns of its row, or why it has none."""
    if isinstance(found, UnusableError):
        return found
    if not np.isfinite(found).all():
        return UnusableError("reward_not_finite")
    return question.as_columns(model.normalise(found) if how.normalise else found)


def read_row(model: "RewardModel", row: Row | UnusableError, how: How) -> Question | UnusableError:
    """What is asked in a row, or why it is not answered."""
    if isinstance(row, UnusableError):
        return row
    try:
        question = read_question(row)
    except UnusableError as unusable:
        return unusable
    if how.refuse_control_tokens and model.holds_control_tokens(question):
        return UnusableError(CONTROL_TOKENS)
    return question


def reason_of(model: "RewardModel", scored: Row | UnusableError) -> str | None:
    """Why a row has no rewards, or what is to be said of it although it has."""
    if isinstance(scored, UnusableError):
        return scored.reason
    return CONTROL_TOKENS if model.holds_control_tokens(read_question(scored)) else None


def _rewards(names: list[str], what: str) -> tuple[str, ...]:
    rewards = columns_for(names)
    if not rewards:
        raise InputError(
            f"{what} has the columns {', '.join(names)}: rows to be scored have prompt and "
            f"response, prompt and responses, or chosen and rejected."
        )
    return rewards


def reward_type(rewards: tuple[str, ...]) -> pa.DataType:
    """The type of the columns that rewards come in."""
    return pa.list_(pa.float64()) if rewards == MANY else pa.float64()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _score_columns(model: "RewardModel", columns: dict[str, Any], how: How) -> dict[str, Any]:
    rewards = _rewards([*columns], "The batch")
    read = [name for name in columns_read(rewards) if name in columns]
    values = zip(*(_as_list(columns[name]) for name in read), strict=True)
    rows = [dict(zip(read, row, strict=True)) for row in values]
    scored = [*score_chunk(model, rows, how, None)]
    found = [None if isinstance(row, UnusableError) else row for row in scored]
    reasons = [reason_of(model, row) or "" for row in scored]
    return (columns | {name: [row and row[name] for row in found] for name in rewards}) | {
        REASON: reasons
    }


def _as_list(column: Any) -> list[Any]:
    """A column's values as JSON has them: Ray Data's and datasets' numpy format nest arrays."""
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in column]
