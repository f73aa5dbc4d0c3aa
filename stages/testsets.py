"""testsets: fetch, check and tokenise further test sets, count their overlap with the training."""

from reward.harness.stage import run

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from reward.evaluation.origins import ORIGINS, SCORING, Origins
from reward.evaluation.sections import check_origins
from reward.harness.errors import InputError, printable
from reward.harness.files import replacing, write_json
from reward.harness.params import Params
from reward.harness.tables import parquet_writer, read_table
from reward.pairs.intake import Intake, Written, write_pairs
from reward.pairs.preference import prompt_keys
from reward.pairs.rows import Tolerance
from reward.pairs.settings import Download
from reward.sources.catalogue import Testset, TestsetName
from reward.sources.places import is_path
from reward.tokens.control_tokens import ControlTokens
from reward.tokens.limits import check_length
from reward.tokens.records import LeftOut, Token
from reward.tokens.settings import MaxLength, Tokenize
from reward.tokens.tokenization import open_encoder, write_tokens

MOST_SUBSETS = 200  # each is a row of the report and a metric
SUBSET_LETTERS = 100  # of a subset's name
NO_SUBSET = "(none)"  # the name for rows in which the column is empty


class TestsetsParams(Params):
    """What testsets reads from params.yaml."""

    max_length: MaxLength
    tokenize: Tokenize
    download: Download
    """Its rules say here, too, which rows give a pair."""
    testsets: dict[TestsetName, Testset]


def testsets(
    params: TestsetsParams, sources: Path, splits: Path, backbone: Path, testsets: Path
) -> None:
    """Check and tokenise the further test sets, and count what they share with the training data.

    sources: folder that all their files are in; sets of the hub are fetched. splits: folder that
    split wrote. backbone: folder that download wrote. testsets: folder for a file of tokens for
    each test set, and records.json.

    Of a set with subsets there is origins/NAME.parquet too (reward.evaluation.origins).
    records.json says, by name, where a set came from, what became of its rows as download counts
    them, and how many of its pairs have a prompt of the training data.

    Raises InputError where a file is not in `sources`, a set cannot be fetched, read or scored by
    its rule, or has no valid pair; then nothing is written.
    """
    records = {}
    entries = {name: entry for name, entry in params.testsets.items() if entry.enabled}
    with replacing(testsets) as folder:
        folder.mkdir()
        if entries:
            check_length(params.max_length, backbone)
            encoder = open_encoder(backbone, params.tokenize)
            holds_control = ControlTokens(encoder)
        for name, entry in entries.items():
            _check_place(name, entry, sources)
        # All are opened before the first is read to its end, which may take a while.
        intakes = [
            Intake(name, entry, Tolerance(params.download.unreadable_rows), _columns(entry))
            for name, entry in entries.items()
        ]
        for intake in intakes:
            name = intake.name
            with TemporaryDirectory() as scratch:
                pairs = Path(scratch) / f"{name}.parquet"
                written = write_pairs(params.download.quality, holds_control, [intake], pairs)
                target = folder / f"{name}.parquet"
                left = write_tokens(pairs, encoder, params.tokenize, params.max_length, target)
                records[name] = _record(intake, left, pairs, target, splits / "train.parquet")
                if entries[name].subset:
                    table = _origins(intake, written, pairs, target, entries[name].scoring)
                    (folder / "origins").mkdir(exist_ok=True)
                    with parquet_writer(folder / f"origins/{name}.parquet", table.schema) as writer:
                        writer.write_table(table)
            intake.print_tally()
        write_json(folder / "records.json", records)


def _check_place(name: str, entry: Testset, sources: Path) -> None:
    # Of files, only what lies in this folder is a dependency of the stage: no other change would be
    # seen. A repository of the hub is as in download: its commit is recorded.
    if is_path(entry.source) and not Path(entry.source).resolve().is_relative_to(sources.resolve()):
        raise InputError(
            f"testsets.{name}.source={entry.source} is not in {sources}, where changes are seen: "
            f"put the file there (`hf download` makes one of a hub dataset)."
        )


def _columns(entry: Testset) -> list[str]:
    """The columns of an entry that are remembered by row: those of subset and item."""
    return [column for column in (entry.subset, entry.item) if column]


def _origins(intake: Intake, written: Written, pairs: Path, tokens: Path, scoring: str) -> pa.Table:
    """The origin records of the pairs in a token file. Raises InputError where the set has too many
    subsets or cannot be scored by its rule.

    written: where the pairs in the file `pairs` come from.
    """
    ids = read_table(tokens, [Token.PAIR_ID])[Token.PAIR_ID]
    kept = np.isin(read_table(pairs, ["pair_id"])["pair_id"].to_numpy(), ids.to_numpy())
    rows, places = written.rows[kept], written.places[kept]
    noted = [[*map(_name, [*intake.noted[row], None][:2])] for row in rows.tolist()]
    subsets = [subset or NO_SUBSET for subset, _ in noted]
    if len({*subsets}) > MOST_SUBSETS:
        raise InputError(
            f"The column of testsets.{intake.name}.subset has {len({*subsets}):,} different values "
            f"and may have {MOST_SUBSETS}: name a column of fewer."
        )
    items = [item for _, item in noted]
    columns = [ids.to_pylist(), rows, places[:, 0], places[:, 1], subsets, items]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, ORIGINS.types, strict=True)]
    table = pa.table(arrays, schema=ORIGINS.with_metadata({SCORING: scoring}))
    check_origins(intake.name, Origins.of(table))
    return table


def _name(value: Any) -> str:
    """A value of a dataset as a name in one line, fit for metrics, a page and a terminal."""
    return "" if value is None else printable(" ".join(str(value)[:SUBSET_LETTERS].split()))


def _record(
    intake: Intake, left: LeftOut, pairs: Path, kept: Path, training: Path
) -> dict[str, Any]:
    """What records.json says of one test set; left: what tokenising left out of it."""
    counts = intake.tally.counts()
    counts["pairs"] -= sum(left.dropped().values())
    counts["dropped"] |= left.dropped()
    counts["kept_with"] |= left.kept_with
    return {
        **intake.origin(),
        **counts,
        "prompt_in_training": _prompts_in(training, pairs, kept),
    }


def _prompts_in(training: Path, pairs: Path, kept: Path) -> int:
    """How many pairs have a prompt of the training pairs (reward.pairs.preference.prompt_key), of
    those that have token records, which `kept` is the file of.
    """
    known = {*read_table(kept, [Token.PAIR_ID])[Token.PAIR_ID].to_pylist()}
    ids = read_table(pairs, ["pair_id"])["pair_id"].to_pylist()
    left = Counter(key for key, one in zip(prompt_keys(pairs), ids, strict=True) if one in known)
    return sum(left.pop(key, 0) for key in prompt_keys(training))


if __name__ == "__main__":
    run(testsets, TestsetsParams)
