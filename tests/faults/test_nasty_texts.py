"""Texts that somebody made to do harm, through every stage and the command score: none is lost
uncounted, and none is more than text where people read it.
"""

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.clones import copy_of_project, environment, execute
from tests.support.pipeline import PIPELINE, written

pytestmark = pytest.mark.slow

NAME = "=<b>ü</b>"  # of the dataset, in params.yaml
SCRIPT = "<script>document.title = 'needle'</script><img src=x onerror=alert(1)>"
TERMINAL = "\x1b[2J\x1b]0;needle\x07\x9b31m\r\x08"
NASTY = {
    "emoji": "🙂👩‍👩‍👧‍👦🇩🇪👍🏿",
    "right to left": "שלום \u202eneedle\u202c \u2066abc\u2069 مرحبا",
    "NUL": "a\x00b\x00",
    "HTML": SCRIPT,
    "terminal": TERMINAL,
    "equals": '=HYPERLINK("http://127.0.0.1:9/"&A1)',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "template": "{{ 7 * 7 }}{% for x in range(9) %}{{ config }}{% endfor %}${7*7}",
    "lines": "a\u2028b\u2029c\u0085d\r\n\t\x0b\x0c",
    "combining": "z" + "\u0301" * 500,
    "private": "\ue000\U000f0000\ufffe\uffff",
    "long": "many words, one after another; " * 340_000,  # 10 MB
}
BROKEN = {"a lone surrogate": "\ud800", "the wrong way round": "\udc00\ud800"}


def rows() -> Iterator[dict[str, Any]]:
    """Each text as prompt, chosen and rejected of pairs that are fine otherwise; the broken ones.

    With 80 pairs and half of them held out, the report shows every held-out text.
    """
    for number in range(40):
        yield {"prompt": f"Name {number} fruits.", "chosen": "Apple, pear.", "rejected": "No."}
    for kind, text in NASTY.items():
        yield {"prompt": f"What is {kind}? {text}", "chosen": "A text.", "rejected": "Nothing."}
        yield {"prompt": f"Say {kind}.", "chosen": f"{text}!", "rejected": "I will not."}
        yield {"prompt": f"Never say {kind}.", "chosen": "All right.", "rejected": f"But: {text}"}
    for kind, text in BROKEN.items():
        yield {"prompt": f"Say {kind}.", "chosen": text, "rejected": "No."}
        yield {"prompt": text, "chosen": "Yes.", "rejected": "No."}


ROWS = [*rows()]


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What each command said on stderr."""
    return {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, said: dict[str, str]) -> Path:
    """A copy of the project in which every stage ran on these rows, as dvc.yaml runs it."""
    folder = copy_of_project(tmp_path_factory.mktemp("nasty") / "project")
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    for name in ("nasty", "testset"):
        (folder / f"data/sources/{name}.jsonl").write_text(lines, encoding="utf-8")
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params |= {"dataset": NAME, "max_length": 64}
    params["datasets"][NAME] = {"source": "data/sources/nasty.jsonl"}
    params["testsets"] = {"nasty": {"source": "data/sources/testset.jsonl"}}
    params["split"]["validation_share"] = 0.5
    params["train"] |= {"epochs": 1, "batch_pairs": 8}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    for stage, entry in PIPELINE.items():
        done = execute(folder, "sh", "-c", entry["cmd"].replace("${launcher}", "python"))
        assert done.returncode == 0, (stage, done.stderr)
        said[stage] = done.stderr
    return folder


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_every_row_is_a_pair_or_counted(place: Path) -> None:
    source = read_json(place / "data/raw/source.json")
    assert source["rows"] == source["candidates"] == len(ROWS)
    assert source["dropped"] == {"broken_text": 2 * len(BROKEN)}
    assert source["pairs"] == len(ROWS) - 2 * len(BROKEN)
    # NUL, terminal and lines, each in a prompt, a chosen and a rejected text.
    assert source["kept_with"]["control_characters"] == 9
    counts = read_json(place / "data/stats.json")["pairs"]
    assert counts["total"] == counts["kept"] + sum(counts["dropped"].values())
    scored = pq.read_table(place / "data/scores/validation.parquet")
    assert scored.num_rows == counts["validation"] > 30
    (tested,) = read_json(place / "data/testsets/records.json").values()
    assert tested["candidates"] == tested["pairs"] + sum(tested["dropped"].values()) == len(ROWS)
    assert pq.read_metadata(place / "data/scores/testsets/nasty.parquet").num_rows == 82


def test_every_text_is_kept_as_it_was(place: Path) -> None:
    pairs = pq.read_table(place / "data/raw/pairs.parquet").to_pylist()
    texts = {text for pair in pairs for text in (pair["chosen"], pair["rejected"])}
    assert {f"{text}!" for text in NASTY.values()} < texts
    assert {f"But: {text}" for text in NASTY.values()} < texts


STEERING = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"


def test_nothing_steers_a_terminal(place: Path, said: dict[str, str]) -> None:
    assert set(said) == set(PIPELINE)
    for stage, text in said.items():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), (
            stage
        )
    assert "dropped: 4 broken text (rows 83, 84, 85, 86)" in said["download"]


def test_the_report_holds_them_as_text(place: Path) -> None:
    page = (place / "metrics/report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;document.title" in page  # it was shown
    assert "⟨U+202E⟩needle" in page
    assert "⟨U+001B⟩[2J" in page
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "<b>ü" not in page
    assert "{{ 7 * 7 }}" in page
    assert not re.search(f"[{STEERING}]", page)
    assert len(page) < 3_000_000


def test_no_cell_of_a_table_is_a_formula(place: Path) -> None:
    tables = [path for stage in PIPELINE for path in written(stage) if path.endswith(".csv")]
    assert len(tables) == 8
    for path in tables:
        with (place / path).open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert len(cells) > 3
        for cell in cells:
            assert "needle" not in cell
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
                float(cell)


def test_scoring_names_what_it_cannot_score(place: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    done = subprocess.run(
        ["sh", "-c", "python -m reward.score data/model"],
        cwd=place,
        env=environment(place),
        input=lines,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    changed, *named = done.stderr.decode().splitlines()
    assert "is not what" in changed  # this model was made without DVC, beside another's dvc.lock
    assert named == [
        *(f"score: line {number}: broken text" for number in (83, 84, 85, 86)),
        "score: 86 rows, 82 scored",
    ]
    scored = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["chosen"] for row in scored] == [row["chosen"] for row in ROWS[:82]]
