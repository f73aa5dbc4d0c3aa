"""Rewards of texts: `python -m reward.score MODEL < rows.jsonl > scored.jsonl`.

Each row is a pair, a prompt with one response, or a prompt with many (reward.serving.questions). It
comes out as it went in, with chosen_score and rejected_score, score, or scores. Rows that cannot be
scored are left out and named on stderr. With --input and --output the rows are in files, both JSON
lines (plain or .gz) or both Parquet.

Exit status: 0 where every row was scored, 1 where some were not, 2 where none was.
"""

import argparse
import gzip
import json
import signal
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from reward.harness.errors import InputError, first_line
from reward.harness.files import replacing
from reward.pairs.preference import UnusableError
from reward.pairs.rows import Row, rows_of
from reward.serving.options import choose_settings
from reward.serving.questions import MANY, Question, columns_for, columns_read, read_question

if TYPE_CHECKING:
    from reward.serving.model import RewardModel

CHUNK_ROWS = 1024  # rows in memory at once; within them, those of like length are batched


def main() -> None:
    """The command line; an InputError ends it with its sentence on stderr and exit status 2."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends this as it ends any filter
    parser = argparse.ArgumentParser(
        prog="python -m reward.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="a model's folder, such as data/model")
    parser.add_argument("--input", type=Path, help=".jsonl, .jsonl.gz or .parquet; else stdin")
    parser.add_argument("--output", type=Path, help="a file of the same kind; else stdout")
    parser.add_argument("--normalise", action="store_true", help="to the training data's rewards")
    parser.add_argument("--max-length", type=int, help="tokens; else as it was trained")
    parser.add_argument("--prompt-floor", type=float, help="a share; else as it was trained")
    options = parser.parse_args()
    try:
        _check(options)
        read, written = _score_files(options, _open_model(options))
    except InputError as error:
        print(f"score: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        sentence = f"{error.filename} may not be opened: change that or name another place."
        print(f"score: {sentence}", file=sys.stderr)
        sys.exit(2)
    print(f"score: {read:,} rows, {written:,} scored", file=sys.stderr)
    sys.exit(0 if read == written > 0 else 1 if written else 2)


def score(
    model: "RewardModel | Path | str",
    rows: Iterable[Row | UnusableError],
    *,
    normalise: bool = False,
    progress: bool = False,
) -> Iterator[Row | UnusableError]:
    """The rows with their rewards, in order; in the place of one that has none, the reason.

    Args:
        model: a model's folder, or `RewardModel.open(...)` of it to score more than once.
        rows: dicts of the shapes of reward.serving.questions. They are read in chunks of 1,024, so
            any number of them can be scored. An UnusableError comes back as it is.
        normalise: give (reward - mean) / deviation, both of the training data's rewards.
        progress: show a bar on stderr, where that is a terminal.

    Each row gets the keys chosen_score and rejected_score, score, or scores (a list). The rewards
    of a pair are those that the stage evaluate gives it, to the rounding of the number format.
    Texts over the model's max_length are cut as in training: a prompt gives way for the longest of
    its responses, so a long one may get another reward alone than beside others.

    Raises InputError where the folder holds no reward model, or nothing to normalise by.
    """
    from reward.serving.model import RewardModel  # imports torch, which takes seconds

    opened = model if isinstance(model, RewardModel) else RewardModel.open(Path(model))
    rest = iter(rows)
    with tqdm(desc="score", unit="row", disable=None if progress else True) as bar:
        while chunk := list(islice(rest, CHUNK_ROWS)):
            yield from _score_chunk(opened, chunk, normalise, bar)


def _score_chunk(
    model: "RewardModel", rows: Sequence[Row | UnusableError], normalise: bool, bar: "tqdm[Any]"
) -> Iterator[Row | UnusableError]:
    read = [_read(row) for row in rows]
    questions = [one for one in read if isinstance(one, Question)]
    bar.update(len(rows) - len(questions))
    rewards = iter(model.rewards(questions, bar))
    for row, question in zip(rows, read, strict=True):
        found = next(rewards) if isinstance(question, Question) else question
        if isinstance(found, UnusableError):
            yield found
        elif not np.isfinite(found).all():
            yield UnusableError("reward_not_finite")
        else:
            scores = model.normalise(found) if normalise else found
            yield cast(Row, row) | cast(Question, question).as_columns(scores)


def _read(row: Row | UnusableError) -> Question | UnusableError:
    if isinstance(row, UnusableError):
        return row
    try:
        return read_question(row)
    except UnusableError as unusable:
        return unusable


def _check(options: argparse.Namespace) -> None:
    """Raise InputError where the command line cannot be right, before anything slow is imported."""
    kinds = {_is_parquet(path) for path in (options.input, options.output)}
    if len(kinds) > 1:
        raise InputError(
            f"{options.input or 'stdin'} and {options.output or 'stdout'} are of different kinds: "
            f"name two .parquet files or two of JSON lines."
        )
    if options.input and not options.input.is_file():
        raise InputError(f"{options.input} is no file: name one, or give the rows on stdin.")
    if options.output and options.output.is_dir():
        raise InputError(f"{options.output} is a folder: name a file in it.")
    choose_settings(
        options.model,
        max_length=options.max_length,
        prompt_floor=options.prompt_floor,
        normalise=options.normalise,
    )


def _open_model(options: argparse.Namespace) -> "RewardModel":
    from transformers import logging as transformers_logging

    from reward.scoring.devices import keep_freed_memory
    from reward.serving.model import RewardModel

    keep_freed_memory()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    return RewardModel.open(
        options.model, max_length=options.max_length, prompt_floor=options.prompt_floor
    )


def _score_files(options: argparse.Namespace, model: "RewardModel") -> tuple[int, int]:
    """Score what the command line names; returns how many rows were read and how many scored."""
    with replacing(options.output) if options.output else nullcontext() as partial:
        if partial and _is_parquet(options.output):
            return _score_parquet(model, options.input, partial, options.normalise)
        try:
            with _reading(options.input) as source, _writing(partial, options.output) as sink:
                return _score_lines(model, source, sink, options.normalise)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{options.input} cannot be read to its end ({error}): write it again."
            ) from None


def _is_parquet(path: Path | None) -> bool:
    return path is not None and path.suffix == ".parquet"


def _reading(path: Path | None) -> AbstractContextManager[BinaryIO]:
    if path is None:
        return nullcontext(sys.stdin.buffer)
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _writing(partial: Path | None, path: Path) -> AbstractContextManager[BinaryIO]:
    if partial is None:
        return nullcontext(sys.stdout.buffer)
    return cast(BinaryIO, gzip.open(partial, "wb")) if path.suffix == ".gz" else partial.open("wb")


def _score_lines(
    model: "RewardModel", source: BinaryIO, sink: BinaryIO, normalise: bool
) -> tuple[int, int]:
    numbers = deque[int]()  # of the lines that are read and not scored yet

    def rows() -> Iterator[Row | UnusableError]:
        for number, line in enumerate(source, 1):
            if line.strip():
                numbers.append(number)
                yield _object(line)

    read = written = 0
    for scored in score(model, rows(), normalise=normalise, progress=True):
        number = numbers.popleft()
        read += 1
        if isinstance(scored, UnusableError):
            _complain("line", number, scored)
            continue
        written += 1
        # A lone surrogate in a column that is not scored becomes the escape that JSON has for it.
        text = json.dumps(scored, ensure_ascii=False)
        sink.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sink.flush()
    return read, written


def _object(line: bytes) -> Row | UnusableError:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return UnusableError("not_UTF-8")
    except (ValueError, RecursionError):
        return UnusableError("not_JSON")
    return value if isinstance(value, dict) else UnusableError("not_a_JSON_object")


def _complain(what: str, number: int, reason: UnusableError) -> None:
    tqdm.write(f"score: {what} {number}: {reason.reason.replace('_', ' ')}", file=sys.stderr)


def _score_parquet(
    model: "RewardModel", source: Path, target: Path, normalise: bool
) -> tuple[int, int]:
    read = written = 0
    with _parquet(source) as file:
        names = file.schema_arrow.names
        columns = columns_for(names)
        if not columns:
            raise InputError(
                f"{source} has the columns {', '.join(names)}: rows to be scored have prompt and "
                f"response, prompt and responses, or chosen and rejected."
            )
        kind = pa.list_(pa.float64()) if columns == MANY else pa.float64()
        kept = [field for field in file.schema_arrow if field.name not in columns]
        schema = pa.schema([*kept, *(pa.field(name, kind) for name in columns)])
        with (
            pq.ParquetWriter(target, schema, compression="zstd") as writer,
            tqdm(desc="score", unit="row", total=file.metadata.num_rows, disable=None) as bar,
        ):
            for batch in _batches(source, file):
                given = rows_of(batch.select([n for n in columns_read(columns) if n in names]))
                rows = [UnusableError(row) if isinstance(row, str) else row for row in given]
                scored = [*_score_chunk(model, rows, normalise, bar)]
                for number, row in enumerate(scored, read + 1):
                    if isinstance(row, UnusableError):
                        _complain("row", number, row)
                good = [row for row in scored if not isinstance(row, UnusableError)]
                whole_rows = batch.filter([not isinstance(row, UnusableError) for row in scored])
                arrays = [whole_rows[field.name] for field in kept]
                arrays += [pa.array([row[name] for row in good], kind) for name in columns]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                read, written = read + len(scored), written + len(good)
    return read, written


def _batches(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(CHUNK_ROWS)
    except (pa.ArrowException, OSError) as error:
        reason = first_line(error)
        raise InputError(f"{path} cannot be read to its end ({reason}): write it again.") from None


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        reason = first_line(error)
        raise InputError(
            f"{path} cannot be read as Parquet ({reason}): name a Parquet file, or JSON lines."
        ) from None


if __name__ == "__main__":
    main()
