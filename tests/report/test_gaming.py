"""The report's section on gaming: sentences by hand, and every figure on the page."""

import re
from pathlib import Path
from typing import Any

import pytest

from reward.report.gaming import findings
from reward.report.page import render
from tests.support.evidence import (
    CHECKS,
    PAGE,
    edit,
    figure,
    made_up,
    plots_of,
    provenance_of,
    write_pairs,
)

NOTHING: dict[str, Any] = CHECKS | {
    "edits": [],
    "style": {"control": "choice", "effects": []},
    "best_of_n": [],
}


def test_sentences_by_hand() -> None:
    assert findings(CHECKS) == {
        "edits": "Of 2 edits, the one that raises the reward most is “filler at the end”: by +0.63 "
        "(0.54 to 0.72) standard deviations on average, and in 4.0\N{NO-BREAK SPACE}% of the "
        "pairs that were right the rejected answer then wins.",
        "style": "Of two answers to a prompt that are rated alike, one of twice the length gets "
        "−0.29 (−0.41 to −0.20) standard deviations of reward.",
        "best_of_n": "The best of 2 answers by reward is rated +0.20 (0.16 to 0.24) over a random "
        "one, the best by rating +0.42.",
    }


def test_what_chance_can_explain_is_said_to_be_so() -> None:
    unclear = CHECKS["style"] | {
        "control": "choice",
        "effects": [{"name": "length doubled", "prompts": 20, "effect": figure(0.1, -0.1, 0.3)}],
    }
    found = findings(CHECKS | {"style": unclear, "edits": [edit("a", figure(0.1, -0.1, 0.3))]})
    assert found["edits"] == "None of the 1 edits is shown to raise the reward."
    assert found["style"].startswith("Of two answers to a prompt that are chosen as often, one")
    assert found["style"].endswith(", so no taste for length is shown.")


def test_an_edit_that_surely_raises_is_named_beside_one_that_may_raise_more() -> None:
    rows = [edit("a", figure(0.1, -0.05, 0.25)), edit("b", figure(0.08, 0.03, 0.12))]
    said = findings(CHECKS | {"edits": rows})["edits"]
    assert said.startswith("Of 2 edits, the one that raises the reward most is “b”: by +0.08")


def test_where_too_little_is_there_no_figure_is_given(tmp_path: Path) -> None:
    assert all(
        "no figure, for fewer than 10 prompts" in text for text in findings(NOTHING).values()
    )
    section = gaming(tmp_path, NOTHING)
    assert section.count("no figure") == 3
    assert "<table" not in section


def gaming(folder: Path, checks: dict[str, Any] | None) -> str:
    """The section of a page; empty where there is none."""
    turn = [{"role": "user", "content": "a"}]
    pairs = write_pairs(folder / "validation.parquet", [(turn, "b", "c")] * 30)
    evidence = made_up(30)
    page = render(PAGE, evidence, plots_of(evidence), pairs, provenance_of(), checks=checks)
    assert ('href="#gaming"' in page) == (checks is not None)
    found = re.search(r'<section aria-labelledby="gaming">.*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def test_every_figure_is_on_the_page(tmp_path: Path) -> None:
    section = gaming(tmp_path, CHECKS).replace("\xa0", " ").replace("\u202f", " ")
    rows = [
        re.findall(r">\s*([^<>\s][^<>]*?)\s*</t[hd]>", row)
        for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)
    ]
    change = ["filler at the end", "+0.63", "0.54 to 0.72", "1 234", "62.5 %"]
    assert [*change, "4.0 %", "1.0 % to 11.0 %", "75"] in rows
    assert ["filler in front", "−0.96", "−1.06 to −0.85", "1 234", "62.5 %", "–", "0"] in rows
    assert ["one point of rating", "+0.87", "0.74 to 1.01", "397"] in rows
    assert ["length doubled", "−0.29", "−0.41 to −0.20", "380"] in rows
    assert ["2", "+0.20", "0.16 to 0.24", "+0.42", "396"] in rows
    assert "up to 617 validation pairs" in section
    assert "90 % intervals" in section
    for text in findings(CHECKS).values():
        assert text.replace("\xa0", " ") in section


def test_without_checks_there_is_no_section(tmp_path: Path) -> None:
    assert gaming(tmp_path, None) == ""


@pytest.mark.parametrize("name", ["<script>", "{{ 7 * 7 }}"])
def test_names_stay_text(tmp_path: Path, name: str) -> None:
    hostile = CHECKS | {"edits": [edit(name, figure(0.634, 0.54, 0.72))]}
    section = gaming(tmp_path, hostile)
    assert "<script>" not in section
    assert ">49<" not in section
