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
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reward.harness.engine import workers
from reward.harness.errors import InputError
from reward.harness.files import check_output, is_same_file
from reward.harness.lock import changed_since
from reward.pairs.preference import UnusableError
from reward.pairs.rows import Row
from reward.serving.batch import (
    BatchScorer,
    How,
    open_in_worker,
    score_rows,
)
from reward.serving.one_file import is_parquet, score_file
from reward.serving.options import choose_settings
from reward.serving.shards import find_shards, is_many, score_shards

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
        "--input",
        type=Path,
        help="rows to score: .jsonl, .jsonl.gz, .parquet, a folder or pattern (default: stdin)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="where the scored rows go: a file of the same kind, a folder for a folder "
        "(default: stdout)",
    )
    parser.add_argument(
        "--normalise",
        action="store_true",
        help="give rewards the mean 0 and deviation 1 of the training data's",
    )
    parser.add_argument(
        "--refuse-control-tokens",
        action="store_true",
        help="leave out rows whose texts hold control tokens of the model",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        help="tokens of a prompt and a response, longer ones are cut (default: as it was trained)",
    )
    parser.add_argument(
        "--prompt-floor",
        type=float,
        help="share of --max-length that cutting leaves a prompt (default: as it was trained)",
    )
    add = parser.add_argument_group("Parquet files on the workers of Ray (requirements-ray.txt)")
    add.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="score on Ray: local starts it here; auto or HOST:PORT joins a cluster",
    )
    add.add_argument(
        "--workers", type=int, help="number of workers (default: as many as there is room for)"
    )
    add.add_argument(
        "--worker-cpus", type=int, default=1, help="CPUs and threads of each worker (default: 1)"
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
    model = open_in_worker(options.model, **settings)
    how = How(options.normalise, options.refuse_control_tokens)
    return score_file(model, options.input, options.output, how)


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

    opened = model if isinstance(model, RewardModel) else RewardModel.open(Path(model))
    yield from score_rows(opened, rows, How(normalise, refuse_control_tokens), progress=progress)


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
    kinds = {is_parquet(path) for path in (options.input, options.output)}
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


if __name__ == "__main__":
    main()
