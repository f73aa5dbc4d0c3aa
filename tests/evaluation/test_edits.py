"""Edits of answers: what each does to a text, and what none of them may do."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.evaluation.edits import (
    all_edits,
    double_spaces,
    filler_after,
    filler_before,
    first_sentence_bold,
    more_blank_lines,
    newline_at_end,
    no_emphasis,
    paragraphs_as_list,
    sentences_on_lines,
)

HARMLESS = list(all_edits(3).values())[:-2]
CODE = "```python\nx = 1. \n\n# A **b**. C\nprint('*a*')\n```"
# What answers are made of: each piece is a block of Markdown.
BLOCKS = (
    "One thing. Another thing! Is it? Yes.",
    "A single line",
    "Two lines. The\nsecond is here. Really.",
    "This is **bold. Very** so, and *this* is not **that *much***.",
    "Use `a. B` and `**c**`. Then stop.",
    "- an item. With two\n- another",
    "1. first. Second\n2. third",
    "# A heading. Here",
    "> A quote. Here",
    "| a. B | c |\n|---|---|",
    "    indented. Code",
    "Say “yes.” Then go (now.) Go on.",
    CODE,
    "~~~\nA. B\n\n\nC. D",  # a fence that nothing closes
)
texts = st.lists(st.sampled_from(BLOCKS), max_size=6).map("\n\n".join) | st.text(
    st.sampled_from("a B.!*`~#->|\n\t 1“”")
)


@given(text=texts)
def test_twice_is_once(text: str) -> None:
    for edit in HARMLESS:
        once = edit(text)
        assert edit(once) == once, edit


def words(text: str) -> str:
    """All that is neither white space nor a mark that an edit may add or take away."""
    return re.sub(r"[\s*-]", "", text)


@given(text=texts)
def test_words_stay_in_their_order(text: str) -> None:
    for edit in HARMLESS:
        assert words(edit(text)) == words(text), edit


@given(before=st.lists(st.sampled_from(BLOCKS[:-1])), after=texts)
def test_a_code_block_stays_as_it_is(before: list[str], after: str) -> None:
    for edit in HARMLESS:
        assert CODE in edit("\n\n".join([*before, CODE, after])), edit


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        (newline_at_end, "a", "a\n"),
        (newline_at_end, "a\n", "a\n"),
        (more_blank_lines, "a\n\nb\nc\n \n\nd", "a\n\n\nb\nc\n\n\nd"),
        (more_blank_lines, "a\n\n    code\n\n\tcode", "a\n\n    code\n\n\tcode"),
        (double_spaces, "A b. C d! E? f. “G.” H", "A b.  C d!  E? f.  “G.”  H"),
        (double_spaces, "- A. B\n- C. D", "- A. B\n- C. D"),
        (double_spaces, "See `a. B` now. Über all.", "See `a. B` now.  Über all."),
        (sentences_on_lines, "A b. C d! E? f.\n\n# G. H", "A b.\nC d!\nE? f.\n\n# G. H"),
        (sentences_on_lines, "**Note.** Go on.", "**Note.**\nGo on."),
        (paragraphs_as_list, "A.\nB.\n\nC.\n\n- d", "- A.\nB.\n\n- C.\n\n- d"),
        (paragraphs_as_list, "A. B.\n\n- c", "A. B.\n\n- c"),
        (first_sentence_bold, "# T\n\nA b. C.\n\nD.", "# T\n\n**A b.** C.\n\nD."),
        (first_sentence_bold, "A b\nC.", "**A b**\nC."),
        (first_sentence_bold, "A *b*. C.\n\nD.", "A *b*. C.\n\nD."),
        (no_emphasis, "**a** *b* ***c*** **d *e* f**", "a b c d e f"),
        (no_emphasis, "* a *b*\n* c", "* a b\n* c"),
        (no_emphasis, "2*3*4, 2 * 3, \\*a\\*, `*b*`, a_b_c", "2*3*4, 2 * 3, \\*a\\*, `*b*`, a_b_c"),
    ],
)
def test_an_edit_by_hand(edit, text, expected) -> None:
    assert edit(text) == expected


def test_filler_by_hand() -> None:
    assert filler_after("a\n", 2) == (
        "a\n\nI hope that this helps. Please let me know if anything is unclear."
    )
    assert filler_before("a", 1) == "Thank you for your question.\n\na"
    # Five of four sentences: the first comes again.
    assert filler_after("a", 5).count("I hope that this helps.") == 2


@pytest.mark.parametrize(
    "unit", ["`", "*", "*a ", " ", "a. ", "\n", "\n    x", "```\n", "#", "- ", "|", "~a"]
)
def test_a_hostile_text_takes_no_longer_than_its_length_asks(unit: str) -> None:
    """200,000 characters; where time grew with their square, this would take minutes.

    It is the time of this process, which others that are busy do not lengthen.
    """
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    for edit in HARMLESS:
        edit(text)
        edit(f"a{text}    x")  # what stands at its end may be what decides
    assert time.process_time() - start < 5
