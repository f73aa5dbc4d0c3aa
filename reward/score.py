"""Rewards of texts: `python -m reward.score MODEL < rows.jsonl > scored.jsonl`.

Each row is a pair, a prompt with one response, or a prompt with many (reward.serving.questions). It
comes out as it went in, with chosen_score and rejected_score, score, or scores. Rows that cannot be
scored are left out and named on stderr; so are, but scored, rows with control tokens of the model
in their texts. With --input and --output the rows are in files, both JSON lines (plain or .gz) or
both Parquet.

With a folder or a pattern of Parquet files as --input, --output is a folder that gets a file of the
same name for each, complete or not at all, with every row in its place: one that cannot be scored
has null for its rewards and the reason in the column `reason`, which names control tokens as well.
With --ray, workers of Ray score them, on this machine or on many. They need the model's folder and
this project at the same paths; the files are read and written by this process. What a lost worker
had is scored by another.

Exit status: 0 where every row was scored, 1 where some were not, 2 where none was.
"""

from reward.harness.endings import ends_in_a_sentence

import argparse
import gzip
import json
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa
from tqdm import tqdm

from reward.harness.engine import workers
from reward.harness.errors import InputError
from reward.harness.files import check_output, is_same_file, replacing
from reward.harness.lock import changed_since
from reward.harness.tables import parquet_writer
from reward.pairs.preference import UnusableError
from reward.pairs.rows import Row, lines_of
from reward.serving.batch import (
    CHUNK_ROWS,
    BatchScorer,
    How,
    open_in_worker,
    reason_of,
    score_batch,
    score_chunk,
    scored_schema,
)
from reward.serving.options import choose_settings
from reward.serving.questions import columns_for
from reward.serving.shards import batches_of, find_shards, is_many, open_shard, score_shards

if TYPE_CHECKING:
    from reward.serving.model import RewardModel


def main() -> None:
    """The command line."""
    with ends_in_a_sentence("score", status=2):
        read, written = _score(_options())
        print(f"score: {read:,} rows, {written:,} scored", file=sys.stderr)
    sys.exit(0 if read == written > 0 else 1 if written else 2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m reward.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="a model's folder, such as data/model")
    parser.add_argument(
        "--input", type=Path, help=".jsonl, .jsonl.gz, .parquet, a folder or pattern; else stdin"
    )
    parser.add_argument(
        "--output", type=Path, help="a file of the same kind, a folder for a folder; else stdout"
    )
    parser.add_argument("--normalise", action="store_true", help="to the training data's rewards")
    parser.add_argument(
        "--refuse-control-tokens", action="store_true", help="leave out rows that hold any"
    )
    parser.add_argument("--max-length", type=int, help="tokens; else as it was trained")
    parser.add_argument("--prompt-floor", type=float, help="a share; else as it was trained")
    add = parser.add_argument_group("Parquet files on the workers of Ray (requirements-ray.txt)")
    add.add_argument("--ray", metavar="ADDRESS", help="local, auto, or HOST:PORT of the head node")
    add.add_argument(
        "--workers", type=int, help="how many; as many as there is room for if left out"
    )
    add.add_argument(
        "--worker-cpus", type=int, default=1, help="CPUs and threads of each; 1 if left out"
    )
    return parser.parse_args()


def _score(options: argparse.Namespace) -> tuple[int, int]:
    """Score what the command line names; returns how many rows were read and how many scored."""
    _check(options)
    if changed := changed_since(options.model):
        print(f"score: {changed}", file=sys.stderr)
    if options.shards:
        return _score_shards(options)
    settings = {name: getattr(options, name) for name in ("max_length", "prompt_floor")}
    return _score_files(options, open_in_worker(options.model, **settings))


def score(
    model: "RewardModel | Path | str",
    rows: Iterable[Row | UnusableError],
    *,
    normalise: bool = False,
    refuse_control_tokens: bool = False,
    progress: bool = False,
) -> Iterator[Row | UnusableError]:
    """The rows with their rewards, in order; in the place of one that has none, the reason.

    Args:
        model: a model's folder, or `RewardModel.open(...)` of it to score more than once.
        rows: dicts of the shapes of reward.serving.questions. They are read in chunks of 1,024, so
            any number of them can be scored. An UnusableError comes back as it is.
        normalise: give (reward - mean) / deviation, both of the training data's rewards.
        refuse_control_tokens: give no reward, for the reason control_tokens, to a row with a text
            that the model would read as turns of its own (reward.tokens.control_tokens).
        progress: show a bar on stderr, where that is a terminal.

    Each row gets the keys chosen_score and rejected_score, score, or scores (a list). The rewards
    of a pair are those that the stage evaluate gives it, to the rounding of the number format.
    Texts over the model's max_length are cut as in training: a prompt gives way for the longest of
    its responses, so a long one may get another reward alone than beside others.

    Raises InputError where the folder holds no reward model, or nothing to normalise by.
    """
    from reward.serving.model import RewardModel  # imports torch, which takes seconds

    how = How(normalise, refuse_control_tokens)
    opened = model if isinstance(model, RewardModel) else RewardModel.open(Path(model))
    rest = iter(rows)
    with tqdm(desc="score", unit="row", disable=None if progress else True) as bar:
        while chunk := list(islice(rest, CHUNK_ROWS)):
            yield from score_chunk(opened, chunk, how, bar)


def _check(options: argparse.Namespace) -> None:
    """Raise InputError where the command line cannot be right, before anything slow is imported."""
    options.shards = options.ray or (options.input and is_many(options.input))
    if options.shards:
        _check_shards(options)
    else:
        _check_files(options)
    choose_settings(
        options.model,
        max_length=options.max_length,
        prompt_floor=options.prompt_floor,
        normalise=options.normalise,
    )


def _check_shards(options: argparse.Namespace) -> None:
    if not options.input or not options.output:
        raise InputError(
            "Many files need --input, a folder or a pattern of Parquet files, and --output, a "
            "folder: name both."
        )
    for name in ("workers", "worker_cpus"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}: give at least 1.")
    options.shards = find_shards(options.input, options.output)


def _check_files(options: argparse.Namespace) -> None:
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
    source = options.input or Path("/dev/stdin")  # both may be files as well
    if options.output:
        check_output(options.output, source)
    elif is_same_file(Path("/dev/stdout"), source):
        raise InputError(f"stdout is the input as well ({source}): send the rows elsewhere.")


def _score_shards(options: argparse.Namespace) -> tuple[int, int]:
    scorer = BatchScorer(
        options.model,
        normalise=options.normalise,
        max_length=options.max_length,
        prompt_floor=options.prompt_floor,
        refuse_control_tokens=options.refuse_control_tokens,
    )
    with workers(
        options.ray, count=options.workers, cpus=options.worker_cpus, gpus=True
    ) as in_order:
        return score_shards(options.shards, options.output, scorer, in_order)


def _score_files(options: argparse.Namespace, model: "RewardModel") -> tuple[int, int]:
    """Score what the command line names; returns how many rows were read and how many scored."""
    how = How(options.normalise, options.refuse_control_tokens)
    with replacing(options.output) if options.output else nullcontext() as partial:
        if partial and _is_parquet(options.output):
            return _score_parquet(model, options.input, partial, how)
        try:
            with _reading(options.input) as source, _writing(partial, options.output) as sink:
                return _score_lines(model, source, sink, how)
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
    model: "RewardModel", source: BinaryIO, sink: BinaryIO, how: How
) -> tuple[int, int]:
    numbers = deque[int]()  # of the lines that are read and not scored yet

    def rows() -> Iterator[Row | UnusableError]:
        for number, line in enumerate(lines_of(source), 1):
            if line is None or line.strip():
                numbers.append(number)
                yield UnusableError("too_long") if line is None else _object(line)

    read = written = 0
    for scored in score(model, rows(), **how._asdict(), progress=True):
        number = numbers.popleft()
        read += 1
        _name(f"line {number}", scored, reason_of(model, scored))
        if isinstance(scored, UnusableError):
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


def _name(place: str, scored: Row | UnusableError, reason: str | None) -> None:
    if reason:
        kept = "" if isinstance(scored, UnusableError) else " (scored nevertheless)"
        tqdm.write(f"score: {place}: {reason.replace('_', ' ')}{kept}", file=sys.stderr)


def _score_parquet(model: "RewardModel", source: Path, target: Path, how: How) -> tuple[int, int]:
    read = written = 0
    with open_shard(source) as file:
        whole = scored_schema(file.schema_arrow, str(source))
        columns = columns_for(file.schema_arrow.names)
        kept = [field for field in file.schema_arrow if field.name not in columns]
        schema = pa.schema([*kept, *(whole.field(name) for name in columns)])
        with (
            parquet_writer(target, schema) as writer,
            tqdm(desc="score", unit="row", total=file.metadata.num_rows, disable=None) as bar,
        ):
            for batch in batches_of(source, file):
                scored = score_batch(model, batch, how, bar)
                for number, row in enumerate(scored, read + 1):
                    _name(f"row {number}", row, reason_of(model, row))
                good = [row for row in scored if not isinstance(row, UnusableError)]
                whole_rows = batch.filter([not isinstance(row, UnusableError) for row in scored])
                arrays = [whole_rows[field.name] for field in kept]
                arrays += [
                    pa.array([r[name] for r in good], schema.field(name).type) for name in columns
                ]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                read, written = read + len(scored), written + len(good)
    return read, written


if __name__ == "__main__":
    main()
