"""reward.tokens.left_out: whether a chat template leaves out text."""

import time

import pytest

from reward.tokens.left_out import left_out


@pytest.mark.parametrize(
    ("contents", "answer", "opening", "whole", "expected"),
    [
        (["Hi"], "Ho", "[Hi]", "[Hi][Ho]", (False, [False])),
        ([" Hi\n"], "\nHo ", "[Hi]", "[Hi][Ho]", (False, [False])),
        # Thoughts are set on lines of their own: nothing is missing.
        (["Hi"], "<t>a b</t>Ho", "[Hi]", "[Hi][<t>\na b\n</t>\n\nHo]", (False, [False])),
        (["Hi"], "<t>a</t>Ho", "[Hi]", "[Hi][Ho]", (False, [True])),
        (["Hi", "<t>a</t>b", "c"], "Ho", "[Hi][b][c]", "[Hi][b][c][Ho]", (True, [False])),
        # The answer is looked for after the prompt, and turns in their order.
        (["Hi Ho"], "Ho", "[Hi Ho]", "[Hi Ho][]", (False, [True])),
        (["a", "b"], "c", "[b][a]", "[b][a][c]", (True, [False])),
        ([""], "", "[]", "[][]", (False, [False])),
    ],
)
def test_by_hand(
    contents: list[str], answer: str, opening: str, whole: str, expected: tuple[bool, list[bool]]
) -> None:
    assert left_out(contents, [answer], [opening, whole]) == expected


def test_each_answer_by_itself() -> None:
    assert left_out(["q"], ["a", "b", "c"], ["[q]", "[q][a]", "[q][]", "[q][c]"]) == (
        False,
        [False, True, False],
    )


def test_many_turns_take_linear_time() -> None:
    turns = [f"turn {number}" for number in range(50_000)]
    text = "".join(f"[{turn}]" for turn in turns)
    started = time.process_time()
    assert left_out(turns, ["x"], [text, text + "[x]"]) == (False, [False])
    assert left_out([*turns, "no"], ["x"], [text, text + "[x]"]) == (True, [False])
    assert time.process_time() - started < 5
