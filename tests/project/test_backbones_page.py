"""docs/backbones.md: every architecture of the installed transformers, as it was tried."""

import pytest

from docs.backbones import ANSWERS, CLASSIFIERS, PAGE, START, line, tried

LINES = PAGE.read_text(encoding="utf-8").partition(START)[2].strip().splitlines()
ROWS = [one for one in LINES if one.startswith("| `") and not one.startswith("| `model_type`")]


def test_the_table_has_every_architecture_once() -> None:
    assert [row.split("`")[1] for row in ROWS] == sorted(CLASSIFIERS)
    assert {row.split(" | ")[2] for row in ROWS} == {*ANSWERS}
    assert f"{len(CLASSIFIERS)} architectures" in LINES[0]


# A decoder, one with another feed-forward part, an encoder with one layer of a head and with two,
# without replaceable attention, with padding that changes rewards, with an encoder and a decoder.
@pytest.mark.parametrize(
    "kind", ["qwen3", "gpt_oss", "electra", "distilbert", "deberta-v2", "xlnet", "bart"]
)
def test_a_row_is_what_comes_of_trying_it(kind: str) -> None:
    assert line(tried(kind)) in ROWS
