"""Download and split together: what the order of the rows must not change."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from reward.catalogue import DatasetEntry
from reward.intake import Tally
from reward.quality import Quality
from stages.download import Download, fetch_pairs
from stages.split import Split, SplitParams, split

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
    fetch_pairs(params, entry.parts("mixed"), folder / "raw")
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


def test_a_tally_tells_counts_and_the_first_rows() -> None:
    tally = Tally(rows=2000)
    for row in range(1, 1501):
        tally.keep()
        if row > 1493:
            tally.drop_kept("duplicate", row)
    tally.drop("tie", 1600)
    tally.find("control_characters", 3)
    assert str(tally) == (
        "2,000 rows read, 1,493 pairs kept; dropped: "
        "7 duplicate (rows 1494, 1495, 1496, 1497, 1498, ...), 1 tie (row 1600); "
        "kept with: 1 control characters (row 3)"
    )
    assert Tally.total([tally, tally]).counts() == {
        "rows": 4000,
        "candidates": 3002,
        "pairs": 2986,
        "dropped": {"duplicate": 14, "tie": 2},
        "kept_with": {"control_characters": 2},
    }
