"""Download and split together: what the order of the rows must not change."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reward.harness.errors import InputError
from reward.pairs.intake import Intake, write_pairs
from reward.pairs.preference import SCHEMA
from reward.pairs.rows import Tolerance
from reward.pairs.settings import Download, Quality, Split
from reward.sources.catalogue import Dataset, DatasetEntry
from stages.download import write_raw
from stages.split import SplitParams, split

QUALITY = dict.fromkeys(Quality.model_fields, "drop")


def responses() -> list[dict[str, Any]]:
    """Four responses to each of 60 prompts, some the same, with ratings that tie and contradict."""
    draw = random.Random(5)
    return [
        {"prompt": f"Prompt {n}?", "response": f"Response {draw.randrange(6)}", "stars": stars}
        for n in range(60)
        for stars in draw.sample([1, 2, 2, 3, 4], 4)
    ]


def pairs() -> list[dict[str, Any]]:
    """Pairs of which some are the same but for their rating, or the other way round."""
    draw = random.Random(6)
    sides = [draw.sample(["Yes.", "No.", "Maybe."], 2) for _ in range(200)]
    return [
        {
            "prompt": f"Prompt {draw.randrange(90)}?",
            "chosen": chosen,
            "rejected": rejected,
            "chosen_rating": draw.choice([3, 4]),
            "rejected_rating": 1,
        }
        for chosen, rejected in sides
    ]


def run(folder: Path, rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> dict[str, bytes]:
    """Download and split a mix of both; returns the files of data/splits."""
    folder.mkdir()
    for name, values in (("one", rows), ("two", more)):
        lines = "".join(json.dumps(value) + "\n" for value in values)
        (folder / f"{name}.jsonl").write_text(lines)
    one = {"source": str(folder / "one.jsonl"), "format": "ratings", "attributes": {"stars": 1}}
    two = {"source": str(folder / "two.jsonl"), "weight": 0.7}
    entry = DatasetEntry.model_validate({"mix": {"one": one, "two": two}})
    params = Download.model_validate({"unreadable_rows": 0, "quality": QUALITY})
    (folder / "raw").mkdir()
    tolerance = Tolerance(params.unreadable_rows)
    intakes = [Intake(name, part, tolerance) for name, part in entry.parts("mixed").items()]
    write_raw(params.quality, None, intakes, folder / "raw")
    section = Split(validation_share=0.2, near_duplicates="count", similarity=0.8)
    split(SplitParams(seed=1, split=section), folder / "raw", folder / "splits")
    return {path.name: path.read_bytes() for path in (folder / "splits").iterdir()}


@pytest.mark.parametrize("seed", [1, 2])
def test_row_order_does_not_change_a_byte_of_the_split(tmp_path: Path, seed: int) -> None:
    rows, more = responses(), pairs()
    expected = run(tmp_path / "expected", rows, more)
    random.Random(seed).shuffle(rows)
    random.Random(seed).shuffle(more)
    assert run(tmp_path / "shuffled", rows, more) == expected


def test_every_candidate_is_kept_or_counted(tmp_path: Path) -> None:
    run(tmp_path / "mixed", responses(), pairs())
    source = json.loads((tmp_path / "mixed/raw/source.json").read_text())
    for counts in (source, *source["sources"].values()):
        assert counts["candidates"] == counts["pairs"] + sum(counts["dropped"].values())
    # Each prompt has four responses and so six comparisons.
    assert source["sources"]["one"]["candidates"] == 60 * 6
    assert source["sources"]["two"]["candidates"] == source["sources"]["two"]["rows"] == 200
    reasons = {"tie", "identical_responses", "contradiction", "duplicate", "beyond_weight"}
    assert set(source["dropped"]) == reasons


def intake(folder: Path, name: str, rows: list[dict[str, Any]]) -> Intake:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Intake(name, Dataset(source=str(path)), Tolerance(0))


def test_pairs_are_written_without_repeats_and_every_tally_is_complete(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "chosen": "Yes.", "rejected": "No."} for n in range(3)]
    intakes = [intake(tmp_path, "one", rows[:2]), intake(tmp_path, "two", rows)]
    write_pairs(Quality.model_validate(QUALITY), None, intakes, tmp_path / "pairs.parquet")
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.schema == SCHEMA
    found = zip(table["prompt"].to_pylist(), table["source"].to_pylist(), strict=True)
    assert [(prompt[0]["content"], source) for prompt, source in found] == [
        ("0?", "one"),
        ("1?", "one"),
        ("2?", "two"),
    ]
    assert [one.tally.counts()["dropped"] for one in intakes] == [{}, {"duplicate": 2}]
    assert [one.tally.pairs for one in intakes] == [2, 1]


def test_a_dataset_without_a_valid_pair_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    intakes = [
        intake(tmp_path, "good", [row]),
        intake(tmp_path, "bad", [row | {"chosen": " "}]),
    ]
    with pytest.raises(
        InputError,
        match=r"bad\.jsonl has no valid pair \(1 rows read, 0 pairs kept; "
        r"dropped: 1 empty response \(row 1\)\): correct it or choose other data\.$",
    ):
        write_pairs(Quality.model_validate(QUALITY), None, intakes, tmp_path / "pairs.parquet")
