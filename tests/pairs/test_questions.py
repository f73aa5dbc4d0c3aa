"""What the rows do not say ends in a question, and what they do say is not turned round."""

from pathlib import Path
from typing import Any

import pytest

from reward.harness.errors import InputError
from reward.pairs.formats import Reader
from reward.pairs.preference import Message, Preference
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset
from tests.support.candidates import assistant, pairs, read, reasons, user

ASK, GOOD, BAD = "How many legs has a spider?", "It has eight.", "Six, like a fly."
PAIR = Preference((Message("user", ASK),), GOOD, BAD, None, None)
GOOD_FIRST: Row = {"prompt": ASK, "response_a": GOOD, "response_b": BAD}
BAD_FIRST: Row = {"prompt": ASK, "response_a": BAD, "response_b": GOOD}
MODELS: Row = {"model_a": "m", "model_b": "n"}


@pytest.mark.parametrize(
    ("columns", "better", "worse", "more"),
    [
        (("chosen", "rejected"), "m", "n", MODELS),
        (("winner", "loser"), "m", "n", MODELS),
        (("winner", "loser"), "a", "b", {}),
        (("best", "worst"), "A", "B", {}),
        (("preferred", "dispreferred"), "response_a", "response_b", {}),
        (("better", "worse"), "first", "second", {}),
    ],
)
def test_names_of_two_answers_are_not_taken_for_answers(
    tmp_path: Path, columns: tuple[str, str], better: str, worse: str, more: Row
) -> None:
    rows: list[Row | str] = [
        {**GOOD_FIRST, **more, columns[0]: better, columns[1]: worse},
        {**BAD_FIRST, **more, columns[0]: worse, columns[1]: better},
    ]
    assert pairs(read(tmp_path, rows)) == [PAIR, PAIR]


def test_names_from_columns_that_are_not_known_are_asked_about(tmp_path: Path) -> None:
    more: Row = {"by_a": "m", "by_b": "n"}
    rows: list[Row | str] = [
        {**GOOD_FIRST, **more, "chosen": "m", "rejected": "n"},
        {**BAD_FIRST, **more, "chosen": "n", "rejected": "m"},
    ]
    with pytest.raises(InputError, match="hold names and not answers") as caught:
        read(tmp_path, rows)
    assert "`columns: {label: chosen, model_1: ..., model_2: ...}`" in str(caught.value)
    columns = {"label": "chosen", "model_1": "by_a", "model_2": "by_b"}
    assert pairs(read(tmp_path, rows, format="labels", columns=columns)) == [PAIR, PAIR]


@pytest.mark.parametrize("extra", [{}, {"answer": GOOD}, MODELS])
def test_answers_beside_the_two_that_they_were_chosen_from(tmp_path: Path, extra: Row) -> None:
    row: Row = {**BAD_FIRST, **extra, "chosen": GOOD, "rejected": BAD}
    talks: Row = {
        **row,
        "chosen": [user(ASK), assistant(GOOD)],
        "rejected": [user(ASK), assistant(BAD)],
    }
    assert pairs(read(tmp_path, [row])) == [PAIR]
    assert pairs(read(tmp_path, [talks])) == [PAIR]


@pytest.mark.parametrize(
    ("good_first", "bad_first"),
    [
        ({"winner_model_a": 1, "winner_model_b": 0}, {"winner_model_a": 0, "winner_model_b": 1}),
        ({"score_a": 5, "score_b": 2}, {"score_a": 2, "score_b": 5}),
        ({"rank_a": 1, "rank_b": 2}, {"rank_a": 2, "rank_b": 1}),
        (
            {"answers": [{"text": GOOD, "score": 2}, {"text": BAD, "score": 1}]},
            {"answers": [{"text": BAD, "score": 1}, {"text": GOOD, "score": 2}]},
        ),
    ],
)
def test_a_strength_beside_another_say_has_no_sign(
    tmp_path: Path, good_first: Row, bad_first: Row
) -> None:
    rows: list[Row | str] = [
        {**GOOD_FIRST, **good_first, "preference_strength": 3},
        {**BAD_FIRST, **bad_first, "preference_strength": 1},
    ]
    found = pairs(read(tmp_path, rows))
    assert [(pair.chosen, pair.rejected) for pair in found] == [(GOOD, BAD)] * 2


def test_a_strength_beside_a_label_has_no_sign(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {**GOOD_FIRST, "winner": "model_a", "preference_strength": 3},
        {**BAD_FIRST, "winner": "model_b", "preference_strength": 1},
    ]
    assert pairs(read(tmp_path, rows)) == [PAIR, PAIR]


@pytest.mark.parametrize("numbers", [[1, 7, 4], [1, 2, 3, 1], ["1", "5"]])
def test_a_scale_without_negative_numbers_is_asked_about(
    tmp_path: Path, numbers: list[Any]
) -> None:
    rows: list[Row | str] = [{**GOOD_FIRST, "overall_preference": one} for one in numbers]
    with pytest.raises(InputError, match="has no negative number among its first"):
        read(tmp_path, rows)
    found = read(tmp_path, rows, better="higher")  # positive ones speak for the first
    assert {(pair.chosen, pair.rejected) for pair in pairs(found)} == {(GOOD, BAD)}


def test_numbers_of_both_signs_are_a_strength(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {**GOOD_FIRST, "overall_preference": -7},
        {**BAD_FIRST, "overall_preference": 4},
    ]
    assert [pair.chosen for pair in pairs(read(tmp_path, rows))] == [GOOD, GOOD]


def test_ranks_or_an_order(tmp_path: Path) -> None:
    # As ranks the second is the best, as an order the third.
    row: Row = {"prompt": ASK, "responses": ["x", GOOD, BAD], "ranking": [2, 1, 3]}
    unclear: Row = {"prompt": ASK, "responses": [BAD, "x", GOOD], "ranking": [3, 1, 2]}
    rated = Preference(PAIR.prompt, GOOD, BAD, -1.0, -3.0)
    assert pairs(read(tmp_path, [row])) == [rated]  # the same either way
    with pytest.raises(InputError, match=r"ranking of x\.jsonl \(\[3, 1, 2\]\) may hold the rank"):
        read(tmp_path, [row, unclear])
    [_, as_ranks] = pairs(read(tmp_path, [row, unclear], better="lower"))
    assert (as_ranks.chosen, as_ranks.rejected) == ("x", BAD)
    named = {**unclear, "ranks": unclear["ranking"]}
    del named["ranking"]
    assert [pair.chosen for pair in pairs(read(tmp_path, [named]))] == ["x"]


def test_two_columns_of_labels_that_disagree(tmp_path: Path) -> None:
    row: Row = {**GOOD_FIRST, "winner": "a", "label": "b"}
    with pytest.raises(InputError, match=r"columns winner and label of x\.jsonl both name answers"):
        read(tmp_path, [row])
    assert pairs(read(tmp_path, [row], columns={"label": "winner"})) == [PAIR]
    assert pairs(read(tmp_path, [{**row, "label": "A"}])) == [PAIR]


def test_texts_that_stand_on_both_sides_are_a_conversation_without_roles(tmp_path: Path) -> None:
    row: Row = {"prompt": ASK, "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}
    assert reasons(read(tmp_path, [row])) == {"texts_without_roles": 1}


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_the_answer_is_not_left_in_the_prompt(tmp_path: Path, column: str) -> None:
    row: Row = {column: [user(ASK), assistant(GOOD)], "chosen": GOOD, "rejected": BAD}
    assert pairs(read(tmp_path, [row])) == [PAIR]


def test_which_of_several_scores_counts(tmp_path: Path) -> None:
    items = [
        {"text": text, "scores": {"bleu": bleu, "bertscore": 1 - bleu}}
        for text, bleu in ((BAD, 0.25), (GOOD, 0.75))
    ]
    row: Row = {"instruction": "", "input": ASK, "candidates": items}
    with pytest.raises(InputError, match=r"several scores \(scores\.bleu, scores\.bertscore\): na"):
        read(tmp_path, [row])
    [pair] = pairs(read(tmp_path, [row], columns={"score": "scores.bleu"}))
    assert pair == Preference(PAIR.prompt, GOOD, BAD, 0.75, 0.25)
    [pair] = pairs(read(tmp_path, [row], columns={"score": "scores.bleu"}, better="lower"))
    assert (pair.chosen, pair.rejected) == (BAD, GOOD)


def test_lists_that_say_none_are_no_sides() -> None:
    row: Row = {
        "instruction": ASK,
        "completions": [
            {"response": GOOD, "overall_score": 8.0},
            {"response": BAD, "overall_score": 2.0},
        ],
        "correct_answers": ["None"],
        "incorrect_answers": ["None"],
    }
    reader = Reader(Dataset(source="x"), [[(1, row)]])
    assert reader.format == "scored-lists"
    assert reader.unread == ["correct_answers", "incorrect_answers"]
