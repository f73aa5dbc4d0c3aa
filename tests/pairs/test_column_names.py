"""Columns under other spellings of their names, and answers in further kinds of columns."""

from pathlib import Path

import pytest

from reward.pairs.first_rows import FirstRows
from reward.pairs.formats import Reader
from reward.pairs.preference import Message, Preference
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset
from tests.support.candidates import assistant, pairs, read, user

ASK, GOOD, BAD = "How many legs has a spider?", "It has eight.", "Six, like a fly."
PROMPT = (Message("user", ASK),)
PARTS = [{"role": "user", "parts": [{"text": ASK}]}]

ROWS: dict[str, tuple[list[Row], tuple[float | None, float | None]]] = {
    "capitals": ([{"Prompt": ASK, "Chosen": GOOD, "Rejected": BAD}], (None, None)),
    "spaces": (
        [{"Question": ASK, "Response A": BAD, "Response B": GOOD, "Winner": "B"}],
        (None, None),
    ),
    "humps": (
        [{"prompt": ASK, "chosenResponse": GOOD, "rejectedResponse": BAD, "ChosenRank": 1,
          "RejectedRank": 3}],
        (-1.0, -3.0),
    ),
    "lower ranks are better in capitals too": (
        [{"Prompt": ASK, "Answer A": BAD, "Answer B": GOOD, "Rank A": 2, "Rank B": 1}],
        (-1.0, -2.0),
    ),
    "chosen and reject": ([{"prompt": ASK, "chosen": GOOD, "reject": BAD}], (None, None)),
    "good and bad translations": (
        [{"input": ASK, "good_translation": GOOD, "bad_translation": BAD}],
        (None, None),
    ),
    "correct and incorrect": (
        [{"question": ASK, "correct_answer": GOOD, "incorrect_answer": BAD}],
        (None, None),
    ),
    "an output beside a rejected one": (
        [{"instruction": ASK, "output": GOOD, "rejected": BAD}],
        (None, None),
    ),
    "votes for both": (
        [{"prompt": ASK, "response_a": BAD, "response_b": GOOD, "votes_a": 1, "votes_b": 4}],
        (4.0, 1.0),
    ),
    "answers by letter": (
        [{"prompt": ASK, "responses": {"A": BAD, "B": GOOD}, "winner": "B"}],
        (None, None),
    ),
    "records with a rating": (
        [{"instruction": ASK, "chosen": {"model": "m", "rating": "4", "response": GOOD},
          "rejected": {"model": "n", "rating": "1", "response": BAD}}],
        (4.0, 1.0),
    ),
    "a record with a text as the prompt": (
        [{"prompt": {"text": ASK}, "chosen": {"text": GOOD}, "rejected": {"text": BAD}}],
        (None, None),
    ),
    "contents with parts": (
        [{"contents": PARTS, "completions": [
            {"score": 0, "completion": {"role": "model", "parts": [{"text": BAD}]}},
            {"score": 1, "completion": {"role": "model", "parts": [{"text": GOOD}]}},
        ]}],
        (1.0, 0.0),
    ),
    "items that are chosen or not": (
        [{"prompt": ASK, "responses": [
            {"text": BAD, "chosen": False}, {"text": GOOD, "chosen": True},
        ]}],
        (1.0, 0.0),
    ),
    "rows that are chosen or not": (
        [{"prompt": ASK, "response": BAD, "chosen": False},
         {"prompt": ASK, "response": GOOD, "chosen": True}],
        (1.0, 0.0),
    ),
    "yes and no as text": (
        [{"prompt": ASK, "completion": BAD, "label": "False"},
         {"prompt": ASK, "completion": GOOD, "label": "True"}],
        (1.0, 0.0),
    ),
    "conversations with a label": (
        [{"messages": [user(ASK), assistant(BAD)], "label": False},
         {"messages": [user(ASK), assistant(GOOD)], "label": True}],
        (1.0, 0.0),
    ),
    "a title and answers by their keys": (
        [{"title": ASK, "selftext": "", "answers": {"text": [BAD, GOOD], "score": [3, 9]}}],
        (9.0, 3.0),
    ),
    "annotators": (
        [{"instruction": ASK, "input": "", "response1": BAD, "response2": GOOD, "annotator1": 2,
          "annotator2": 0, "annotator3": 2}],
        (None, None),
    ),
    "grades between the two": (
        [{"instruction": ASK, "output_1": BAD, "output_2": GOOD, "preference": 1.87}],
        (None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "ratings"), ROWS.values(), ids=ROWS)
def test_a_layout_gives_the_pair_that_it_means(
    tmp_path: Path, rows: list[Row], ratings: tuple[float | None, float | None]
) -> None:
    expected = [Preference(PROMPT, GOOD, BAD, *ratings)]
    assert pairs(read(tmp_path, [*rows])) == expected
    reader = Reader(Dataset(source="x"), [[*enumerate(rows, 1)]])
    assert reader.unread == []
    assert pairs(read(tmp_path, [*rows], format=reader.format)) == expected


def test_a_column_with_the_very_name_goes_before_one_that_is_spelt_otherwise(
    tmp_path: Path,
) -> None:
    row: Row = {"Prompt": "x", "prompt": ASK, "chosen": GOOD, "rejected": BAD}
    assert pairs(read(tmp_path, [row])) == [Preference(PROMPT, GOOD, BAD, None, None)]
    humps = FirstRows([{"replyAScore": 1, "ReplyB_score": 2}])
    assert [humps.called(f"reply_{one}_score") for one in "ab"] == ["replyAScore", "ReplyB_score"]
    first = FirstRows([{"Chosen": 1, "CHOSEN": 2, "RejectedText": 3}])
    assert [first.called(name) for name in ("chosen", "rejected_text", "other")] == [
        *("chosen", "RejectedText", "other"),  # two are spelt so: neither is guessed
    ]


def test_several_columns_are_named_by_a_pattern(tmp_path: Path) -> None:
    row: Row = {
        "prompt": ASK,
        "answer_a": BAD,
        "answer_b": GOOD,
        "vote_1": "b",
        "vote_2": None,
        "vote_3": "b",
        "vote_why": "It is right.",
    }
    reader = Reader(Dataset(source="x", columns={"label": "vote_*"}), [[(1, row)]])
    assert (reader.format, reader.unread) == ("labels", ["vote_why"])
    [pair] = pairs(read(tmp_path, [row], columns={"label": "vote_*"}))
    assert (pair.chosen, pair.rejected) == (GOOD, BAD)


@pytest.mark.parametrize("body", ["More of it.", None])
def test_a_title_goes_on_with_its_body(tmp_path: Path, body: str | None) -> None:
    row: Row = {"title": ASK, "body": body, "chosen": GOOD, "rejected": BAD}
    [pair] = pairs(read(tmp_path, [row]))
    assert pair.prompt == (Message("user", f"{ASK}\n{body}" if body else ASK),)
    other: Row = {"prompt": "Answer.", **row}  # a body is not a part of every prompt
    assert Reader(Dataset(source="x"), [[(1, other)]]).unread == ["title", "body"][: 1 + bool(body)]


def test_an_empty_instruction_leaves_no_empty_line(tmp_path: Path) -> None:
    row: Row = {"instruction": "", "input": ASK, "chosen": GOOD, "rejected": BAD}
    assert pairs(read(tmp_path, [row])) == [Preference(PROMPT, GOOD, BAD, None, None)]


@pytest.mark.parametrize("nothing", [None, "", " "])
def test_a_column_with_nothing_in_it_is_not_the_prompt(tmp_path: Path, nothing: str | None) -> None:
    row: Row = {"prompt": nothing, "question": ASK, "chosen": GOOD, "rejected": BAD}
    assert pairs(read(tmp_path, [row])) == [Preference(PROMPT, GOOD, BAD, None, None)]
