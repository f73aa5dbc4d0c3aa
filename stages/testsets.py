"""testsets: check and tokenise further test sets, count their overlap with the training data."""

from reward.harness.stage import run

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from pydantic import Field

from reward.harness.errors import InputError
from reward.harness.files import replacing, write_json
from reward.harness.params import Params
from reward.pairs.intake import Download, Intake, write_pairs
from reward.pairs.preference import prompt_keys
from reward.pairs.rows import Tolerance
from reward.sources.catalogue import Dataset
from reward.tokens.control_tokens import ControlTokens
from reward.tokens.limits import check_length
from reward.tokens.records import LeftOut
from reward.tokens.tokenization import MaxLength, Tokenize, write_tokens

Name = Annotated[str, Field(pattern="^[a-z0-9_-]+$")]  # of a metric and of a file


class TestsetsParams(Params):
    """What testsets reads from params.yaml."""

    max_length: MaxLength
    tokenize: Tokenize
    download: Download
    """Its rules say here, too, which rows give a pair."""
    testsets: dict[Name, Dataset]


def testsets(
    params: TestsetsParams, sources: Path, splits: Path, backbone: Path, testsets: Path
) -> None:
    """Write NAME.parquet (token records) for each test set, and records.json, to `testsets`.

    sources: the folder that all their files are in. splits: with the training pairs. backbone: with
    the tokenizer. records.json says, by name, where a set came from, what became of its rows as
    download counts them, and how many of its pairs have a prompt of the training data.

    Raises InputError where a file is not in `sources`, cannot be read or has no valid pair; then
    nothing is written.
    """
    records = {}
    with replacing(testsets) as folder:
        folder.mkdir()
        if params.testsets:
            check_length(params.max_length, backbone)
            encoder = params.tokenize.encoder(backbone)
            holds_control = ControlTokens(encoder)
        for name, entry in params.testsets.items():
            _check_place(name, entry, sources)
        # All are opened before the first is read to its end, which may take a while.
        intakes = [
            Intake(name, entry, Tolerance(params.download.unreadable_rows))
            for name, entry in params.testsets.items()
        ]
        for intake in intakes:
            name = intake.name
            with TemporaryDirectory() as scratch:
                pairs = Path(scratch) / f"{name}.parquet"
                write_pairs(params.download.quality, holds_control, [intake], pairs)
                target = folder / f"{name}.parquet"
                left = write_tokens(pairs, encoder, params.tokenize, params.max_length, target)
                records[name] = _record(intake, left, pairs, splits / "train.parquet")
            intake.print_tally()
        write_json(folder / "records.json", records)


def _check_place(name: str, entry: Dataset, sources: Path) -> None:
    # Only what lies in this folder is a dependency of the stage: no other change would be seen.
    if not Path(entry.source).resolve().is_relative_to(sources.resolve()):
        raise InputError(
            f"testsets.{name}.source={entry.source} is not in {sources}, where changes are seen: "
            f"put the file there (`hf download` makes one of a hub dataset)."
        )


def _record(intake: Intake, left: LeftOut, pairs: Path, training: Path) -> dict[str, Any]:
    """What records.json says of one test set; left: what tokenising left out of it."""
    counts = intake.tally.counts()
    counts["pairs"] -= sum(left.dropped().values())
    counts["dropped"] |= left.dropped()
    counts["kept_with"] |= left.kept_with
    return {
        **intake.origin(),
        **counts,
        "prompt_in_training": _prompts_in(training, pairs),
    }


def _prompts_in(training: Path, pairs: Path) -> int:
    """How many pairs have a prompt of the training pairs (reward.pairs.preference.prompt_key)."""
    left = Counter(prompt_keys(pairs))
    return sum(left.pop(key, 0) for key in prompt_keys(training))


if __name__ == "__main__":
    run(testsets, TestsetsParams)
