"""Which formats a text has, by its marks."""

import pytest

from reward.evaluation.markdown import NAMES, formats, plain_paragraphs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain - text, 1. May, a#b, 2 ** 3 ** 4", set()),
        ("a\n- b", {"list"}),
        ("a\n  2) b", {"list"}),
        ("a **b c** d", {"bold"}),
        ("## a", {"heading"}),
        ("#hashtag", set()),
        ("```sh\n# no heading\n- no item\n```\n", {"code block"}),
        ("~~~\n**no bold**", {"code block"}),
        ("```not a fence``` but a line", set()),
        ("```\na\n```\n- b", {"code block", "list"}),
    ],
)
def test_formats_of_a_text(text: str, expected: set[str]) -> None:
    has = formats(text)
    assert {name for name, found in zip(NAMES, has, strict=True) if found} == expected


def test_plain_paragraphs_are_those_without_marks() -> None:
    marked = ["# a", "- b\n- c", "  d", "e\n- f", "> g", "h | i | j", "```\nk\n```", "l\n==="]
    text = "\n\n".join(["one\ntwo", *marked, "three"])
    seen: list[str] = []

    def edit(paragraph: str) -> str:
        seen.append(paragraph)
        return paragraph.upper()

    edited = plain_paragraphs(text, edit)
    assert seen == ["one\ntwo", "three"]
    assert edited == "\n\n".join(["ONE\nTWO", *marked, "THREE"])
