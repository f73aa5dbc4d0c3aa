"""The layouts of public sets, each as one row with the pair that it means.

The rows were written for this project after the public descriptions of the sets that they are named
for. In all of them the question and the two answers are the same.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward.harness.errors import InputError
from reward.harness.tables import parquet_writer
from reward.pairs.formats import Reader
from reward.pairs.groups import first_of_group
from reward.pairs.preference import SCHEMA, Message, Preference, to_batch
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset
from tests.support.candidates import assistant, pairs, read, reasons, user

ASK, GOOD, BAD = "How many legs has a spider?", "It has eight.", "Six, like a fly."
TURN = Message("user", ASK)
SYSTEM = Message("system", "Be brief.")
EARLIER = (Message("user", "Hello"), Message("assistant", "Hi."))
NONE = (None, None)
HELLO = [user("Hello"), assistant("Hi.")]


def talk(answer: str) -> list[dict[str, str]]:
    return [user(ASK), assistant(answer)]


def sharegpt(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


PAIRS: dict[str, tuple[Row, tuple[float | None, float | None]]] = {
    # The better side has a column.
    "argilla": (
        {
            "instruction": ASK,
            "chosen_response": GOOD,
            "rejected_response": BAD,
            "chosen_avg_rating": 4.5,
            "rejected_avg_rating": "3",
        },
        (4.5, 3.0),
    ),
    "argilla, cleaned": (
        {
            "prompt": ASK,
            "chosen": talk(GOOD),
            "chosen-rating": 5.0,
            "rejected": talk(BAD),
            "rejected-rating": 2.0,
        },
        (5.0, 2.0),
    ),
    "capybara": (
        {
            "conversation": [{"input": ASK, "output": GOOD}],
            "chosen": talk(GOOD),
            "rejected": talk(BAD),
            "rating_chosen": 5,
            "rating_rejected": 1,
        },
        (5.0, 1.0),
    ),
    "RLHFlow": (
        {
            "chosen": talk(GOOD),
            "chosen_score": 8.0,
            "rejected": talk(BAD),
            "rejected_score": 2.5,
        },
        (8.0, 2.5),
    ),
    "orpo": (
        {
            "chosen": talk(GOOD),
            "chosen_reward": 0.5,
            "rejected": talk(BAD),
            "rejected_reward": -0.5,
        },
        (0.5, -0.5),
    ),
    "ranks of both sides": (
        {"prompt": ASK, "chosen": GOOD, "rejected": BAD, "chosen_rank": 1, "rejected_rank": 4},
        (-1.0, -4.0),
    ),
    "one side is rated": (
        {"input": ASK, "chosen": GOOD, "rejected": BAD, "chosen_score": 9.0},
        (9.0, None),
    ),
    "a margin": ({"chosen": talk(GOOD), "rejected": talk(BAD), "margin": "2.5"}, (2.5, 0.0)),
    "MedicalGPT": (
        {"question": ASK, "response_chosen": GOOD, "response_rejected": BAD, "history": []},
        NONE,
    ),
    "stack-exchange-paired": ({"question": ASK, "response_j": GOOD, "response_k": BAD}, NONE),
    "OpenAI": (
        {
            "input": {"messages": [user(ASK)], "tools": []},
            "preferred_output": [assistant(GOOD)],
            "non_preferred_output": [assistant(BAD)],
        },
        NONE,
    ),
    "ms-swift": ({"messages": talk(GOOD), "rejected_response": BAD}, NONE),
    "ms-swift 2": ({"query": ASK, "response": GOOD, "rejected_response": BAD}, NONE),
    "OpenPipe": ({"messages": talk(GOOD), "rejected_message": assistant(BAD)}, NONE),
    "LLaMA-Factory": (
        {
            "conversations": [sharegpt("human", ASK)],
            "chosen": sharegpt("gpt", GOOD),
            "rejected": sharegpt("gpt", BAD),
        },
        NONE,
    ),
    "UltraInteract": (
        {"trajectory": [sharegpt("user", ASK)], "chosen": GOOD, "rejected": BAD, "parent_id": "0"},
        NONE,
    ),
    "messages beside conversations": (
        {"prompt": ASK, "chosen": talk(GOOD), "rejected": talk(BAD), "messages": talk(GOOD)},
        NONE,
    ),
    # A number for both sides.
    "HelpSteer2": (
        {"prompt": ASK, "response_1": BAD, "response_2": GOOD, "preference_strength": 2},
        (2.0, 0.0),
    ),
    "HelpSteer3 as CSV": (
        {
            "context": json.dumps([user(ASK)]),
            "response1": GOOD,
            "response2": BAD,
            "overall_preference": "-3",
        },
        (3.0, 0.0),
    ),
    # A label.
    "SHP, A": (
        {
            "history": ASK,
            "human_ref_A": GOOD,
            "human_ref_B": BAD,
            "labels": 1,
            "score_A": 9,
            "score_B": 2,
            "score_ratio": 4.5,
        },
        (9.0, 2.0),
    ),
    "SHP, B": ({"history": ASK, "human_ref_A": BAD, "human_ref_B": GOOD, "labels": 0}, NONE),
    "PKU-SafeRLHF, 0": (
        {
            "prompt": ASK,
            "response_0": GOOD,
            "response_1": BAD,
            "better_response_id": 0,
            "safer_response_id": 1,
            "is_response_0_safe": True,
        },
        NONE,
    ),
    "PKU-SafeRLHF, 1": (
        {"prompt": ASK, "response_0": BAD, "response_1": GOOD, "better_response_id": 1},
        NONE,
    ),
    "AlpacaFarm": (
        {"instruction": ASK, "input": "", "output_1": BAD, "output_2": GOOD, "preference": 2},
        NONE,
    ),
    "AlpacaEval": (
        {"instruction": ASK, "output_1": GOOD, "output_2": BAD, "preference": 1.0},
        NONE,
    ),
    "Preference Collection": (
        {
            "instruction": f"Compare. {ASK}",
            "orig_instruction": ASK,
            "orig_response_A": BAD,
            "orig_response_B": GOOD,
            "orig_preference": "B",
        },
        NONE,
    ),
    "Chatbot Arena": (
        {
            "winner": "model_b",
            "model_a": "m",
            "model_b": "n",
            "turn": 1,
            "conversation_a": talk(BAD),
            "conversation_b": talk(GOOD),
        },
        NONE,
    ),
    "Chatbot Arena, flags": (
        {
            "prompt": json.dumps([ASK]),
            "winner_model_a": 0,
            "winner_model_b": 1,
            "winner_tie": 0,
            "response_a": json.dumps([BAD]),
            "response_b": json.dumps([GOOD]),
        },
        NONE,
    ),
    "the model's name": (
        {
            "prompt": ASK,
            "model_a": "m",
            "model_b": "n",
            "winner": "n",
            "response_a": BAD,
            "response_b": GOOD,
        },
        NONE,
    ),
    "MT-bench, the first turn": (
        {
            "winner": "model_a",
            "turn": 1,
            "judge": "x",
            "conversation_a": [*talk(GOOD), user("And a fly?"), assistant("Six.")],
            "conversation_b": [*talk(BAD), user("And a fly?"), assistant("Two.")],
        },
        NONE,
    ),
    "summarize_from_feedback": (
        {
            "info": {"post": ASK, "title": "t"},
            "choice": 1,
            "worker": "w",
            "summaries": [{"text": BAD, "policy": "p"}, {"text": GOOD, "policy": "q"}],
        },
        NONE,
    ),
    "a place": ({"prompt": ASK, "answer_a": BAD, "answer_b": GOOD, "preference": "right"}, NONE),
    "a column's name": (
        {
            "prompt": ASK,
            "response_a": BAD,
            "response_b": GOOD,
            "chosen": "response_b",
            "rejected": "response_a",
        },
        NONE,
    ),
    # A score for each side.
    "webgpt": (
        {
            "question": {"dataset": "d", "full_text": ASK},
            "answer_0": BAD,
            "score_0": -0.5,
            "answer_1": GOOD,
            "score_1": 0.5,
            "quotes_1": {"title": []},
        },
        (0.5, -0.5),
    ),
    "Unified-Feedback": (
        {
            "conv_A": talk(BAD),
            "conv_A_rating": 1.0,
            "conv_B": talk(GOOD),
            "conv_B_rating": 7.0,
        },
        (7.0, 1.0),
    ),
    # Lists.
    "UltraFeedback": (
        {
            "instruction": ASK,
            "completions": [
                {"response": BAD, "overall_score": "3", "annotations": {"honesty": "N/A"}},
                {"response": GOOD, "overall_score": 8.5, "annotations": {}},
            ],
        },
        (8.5, 3.0),
    ),
    "Nectar": (
        {
            "prompt": f"\n\nHuman: {ASK}\n\nAssistant: ",
            "answers": [{"answer": BAD, "rank": 7.0}, {"answer": GOOD, "rank": 1.0}],
            "turns": 1,
        },
        (-1.0, -7.0),
    ),
    "NeMo RL": (
        {
            "context": [user(ASK)],
            "completions": [
                {"rank": 0, "completion": [assistant(GOOD)]},
                {"rank": 1, "completion": [assistant(BAD)]},
            ],
        },
        (0.0, -1.0),
    ),
    "stack-exchange-preferences": (
        {
            "question": ASK,
            "answers": [
                {"text": BAD, "pm_score": 0, "selected": True},
                {"text": GOOD, "pm_score": 4, "selected": False},
            ],
        },
        (4.0, 0.0),
    ),
    "distilabel": ({"input": ASK, "generations": [BAD, GOOD], "rating": [1.0, 5.0]}, (5.0, 1.0)),
    "a list of objects by their keys": (
        {"question": ASK, "answers": {"text": [BAD, GOOD], "score": [3, 40], "a_id": ["x", "y"]}},
        (40.0, 3.0),
    ),
    "hhh_alignment": (
        {"input": ASK, "targets": {"choices": [GOOD, BAD], "labels": [1, 0]}},
        (1.0, 0.0),
    ),
    "TruthfulQA": (
        {"question": ASK, "mc1_targets": {"choices": [GOOD, BAD], "labels": [1, 0]}},
        (1.0, 0.0),
    ),
    "ranks beside a list": ({"prompt": ASK, "candidates": [BAD, GOOD], "ranks": [2, 1]}, (-1, -2)),
    "lists as JSON text": (
        {"prompt": ASK, "responses": json.dumps([BAD, GOOD]), "scores": "[1, 2]"},
        (2.0, 1.0),
    ),
    "LLaMA-Factory's older ranking": (
        {"instruction": ASK, "input": "", "output": [GOOD, "Seven?", BAD]},
        (-1.0, -3.0),
    ),
    "JudgeBench": (
        {"question": ASK, "response_A": BAD, "response_B": GOOD, "label": "B>A"},
        NONE,
    ),
    "CValues": ({"prompt": ASK, "pos_resp": GOOD, "neg_resp": BAD}, NONE),
    "winner and loser": ({"user_input": ASK, "winner": GOOD, "loser": BAD}, NONE),
    "the letters of the DPO paper": ({"x": ASK, "y_w": GOOD, "y_l": BAD}, NONE),
    "OpenRLHF": (
        {"context_messages": [user(ASK)], "chosen": talk(GOOD)[1:], "rejected": talk(BAD)[1:]},
        NONE,
    ),
    "RewardBench 2": (
        {"prompt": ASK, "chosen": [GOOD], "rejected": [BAD], "num_correct": 1, "subset": "Math"},
        NONE,
    ),
}


@pytest.mark.parametrize(("row", "ratings"), PAIRS.values(), ids=PAIRS)
def test_a_row_gives_the_pair_that_it_means(
    tmp_path: Path, row: Row, ratings: tuple[float | None, float | None]
) -> None:
    expected = [Preference((TURN,), GOOD, BAD, *ratings)]
    assert [one.outcome for one in read(tmp_path, [row])] == expected
    kind = Reader(Dataset(source="x"), [[(1, row)]]).format
    assert [one.outcome for one in read(tmp_path, [row], format=kind)] == expected


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"system": "Be brief.", "question": ASK}, (SYSTEM, TURN)),
        ({"system_prompt": "Be brief.", "prompt": [user(ASK)]}, (SYSTEM, TURN)),
        ({"system": " ", "prompt": ASK}, (TURN,)),
        ({"system": None, "prompt": ASK}, (TURN,)),
        ({"history": [["Hello", "Hi."]], "query": ASK}, (*EARLIER, TURN)),
        ({"history": '[["Hello", "Hi."]]', "query": ASK}, (*EARLIER, TURN)),
        ({"history": HELLO, "prompt": ASK, "system": "Be brief."}, (SYSTEM, *EARLIER, TURN)),
        ({"instruction": "Answer.", "input": ASK}, (Message("user", f"Answer.\n{ASK}"),)),
        ({"prompt": f"Answer. {ASK}", "input": ASK}, (Message("user", f"Answer. {ASK}"),)),
        ({"input": ASK}, (TURN,)),
    ],
)
def test_a_prompt_in_several_columns(tmp_path: Path, row: Row, prompt: tuple[Message, ...]) -> None:
    [found] = read(tmp_path, [row | {"chosen": GOOD, "rejected": BAD}])
    assert found.outcome == Preference(prompt, GOOD, BAD, None, None)


def test_a_system_column_beside_whole_conversations(tmp_path: Path) -> None:
    row: Row = {"system": "Be brief.", "chosen": talk(GOOD), "rejected": talk(BAD)}
    told = {"role": "system", "content": "Be long."}
    other: Row = row | {"chosen": [told, *talk(GOOD)], "rejected": [told, *talk(BAD)]}
    same: Row = row | {
        side: [{"role": "system", "content": "Be brief."}, *row[side]]
        for side in ("chosen", "rejected")
    }
    found = read(tmp_path, [row, other, same])
    assert [pair.prompt for pair in pairs(found)] == [(SYSTEM, TURN)] * 2
    assert reasons(found) == {"prompts_differ": 1}


def test_a_name_with_dots_leads_into_a_column(tmp_path: Path) -> None:
    drafts = [{"out": BAD}, {"out": GOOD}, {"out": "x"}]
    row: Row = {"task": {"text": ASK}, "drafts": drafts, "a.b": 3, "worse": {"n": 1}}
    names = {"prompt": "task.text", "chosen": "drafts.1.out", "rejected": "drafts.0.out"}
    ratings = {"chosen_rating": "a.b", "rejected_rating": "worse.n"}
    found = read(tmp_path, [row, {}, {"task": 3, "drafts": []}], columns=names | ratings)
    assert pairs(found) == [Preference((TURN,), GOOD, BAD, 3.0, 1.0)]
    assert reasons(found) == {"missing_chosen": 2}


def test_columns_of_text_that_are_not_read_are_named() -> None:
    row = {
        "context": "A page on spiders.",
        "question": ASK,
        "chosen": GOOD,
        "rejected": BAD,
        "notes": [{"text": "x"}],
        "n": 3,
        "empty": "",
        "tags": [],
    }
    assert Reader(Dataset(source="x"), [[(1, row)]]).unread == ["context", "notes"]
    mapped = Dataset(source="x", columns={"input": "context"})
    assert Reader(mapped, [[(1, row)]]).unread == ["notes"]


@pytest.mark.parametrize(
    ("turns", "outcome"),
    [
        # In the prompt's own words, the end of it, or what follows it.
        ([user(ASK)], (TURN,)),
        ([*HELLO, user(ASK)], (*EARLIER, TURN)),
        ([user(f" {ASK}\n")], (TURN,)),
    ],
)
def test_answers_may_repeat_what_was_said_before_them(
    tmp_path: Path, turns: list[Any], outcome: tuple[Message, ...]
) -> None:
    sides = {
        side: [*turns, assistant(text)] for side, text in (("chosen", GOOD), ("rejected", BAD))
    }
    [found] = pairs(read(tmp_path, [{"prompt": ASK, **sides}]))
    assert [(turn.role, turn.content.strip()) for turn in found.prompt] == [*outcome]
    whole: Row = {"prompt": [*HELLO, user(ASK)], **sides}
    assert pairs(read(tmp_path, [whole]))[0].prompt[-1].content.strip() == ASK
    assert len(pairs(read(tmp_path, [whole]))[0].prompt) == 3


def test_answers_may_go_on_after_the_prompt(tmp_path: Path) -> None:
    row: Row = {
        "prompt": [user("Hello")],
        "chosen": [assistant("Hi."), *talk(GOOD)],
        "rejected": [assistant("Hi."), *talk(BAD)],
    }
    assert pairs(read(tmp_path, [row])) == [Preference((*EARLIER, TURN), GOOD, BAD, *NONE)]


def test_earlier_answers_that_differ_are_told(tmp_path: Path) -> None:
    row: Row = {
        "prompt": json.dumps(["Hello", ASK]),
        "winner_model_a": 0,
        "winner_model_b": 1,
        "response_a": json.dumps(["Good day.", BAD]),
        "response_b": json.dumps(["Hi.", GOOD]),
    }
    [pair] = pairs(read(tmp_path, [row]))
    assert pair == Preference((*EARLIER, TURN), GOOD, BAD, None, None, earlier_turns_differ=True)
    other: Row = row | {"response_a": json.dumps([BAD]), "response_b": "[null, null]"}
    assert reasons(read(tmp_path, [row, other])) == {"turns_and_prompts_differ": 1}
    spoilt: list[Row | str] = [
        row | {"response_b": '["Hi.", null]'},
        row | {"response_b": None},
        row | {"response_b": '["Hi.", "It has'},  # and not the JSON text as the answer
        row | {"prompt": '["Hello", null]'},
    ]
    assert reasons(read(tmp_path, [row, *spoilt])) == {
        "missing_response": 1,
        "missing_response_2": 1,
        "turns_and_prompts_differ": 1,
        "missing_prompt": 1,
    }


def test_every_chosen_answer_against_every_rejected_one(tmp_path: Path) -> None:
    row: Row = {"prompt": "A colour?", "chosen": ["Red.", "Blue."], "rejected": ["Cat.", "One."]}
    found = pairs(read(tmp_path, [row]))
    assert [(pair.chosen, pair.rejected) for pair in found] == [
        *(("Red.", "Cat."), ("Red.", "One."), ("Blue.", "Cat."), ("Blue.", "One.")),
    ]
    assert {(pair.chosen_rating, pair.rejected_rating) for pair in found} == {(1.0, 0.0)}
    with parquet_writer(tmp_path / "pairs.parquet", SCHEMA) as writer:
        writer.write_batch(to_batch(found, "mine"))
    # All of them are in the group of the pair with the lowest id.
    lowest = min(pair.pair_id for pair in found)
    others = {place for place, pair in enumerate(found) if pair.pair_id != lowest}
    groups = first_of_group(tmp_path / "pairs.parquet", np.zeros(4, dtype=np.uint64))
    assert groups == dict.fromkeys(others, lowest)
    many: Row = row | {"chosen": ["x"] * 101, "rejected": ["y"] * 100}
    assert reasons(read(tmp_path, [row, many])) == {"too_many_answers": 1}


SIDES: Row = {"prompt": ASK, "response_1": GOOD, "response_2": BAD}


@pytest.mark.parametrize(
    ("row", "entry", "sentence"),
    [
        ({**SIDES, "label": 0}, {}, r"labels \(0\) that do not say whether response_1 or resp"),
        ({**SIDES, "response_3": "x", "label": 1}, {}, r"\(response_1, response_2, response_3\)"),
        ({"prompt": ASK, "responses": [GOOD, BAD]}, {}, "have no scores: name their column"),
        ({"chosen": f"Q: {ASK} {GOOD}", "rejected": f"Q: {ASK} {BAD}"}, {}, "no column prompt"),
        ({**SIDES, "label": 1}, {"better": "first"}, "better=first of x.jsonl says nothing"),
        (
            {"prompt": ASK, "chosen": GOOD, "rejected": BAD},
            {"labels": {"1": "tie"}},
            "`labels`, which the format pairs does not read",
        ),
    ],
)
def test_what_cannot_be_known_ends_in_one_sentence(
    tmp_path: Path, row: Row, entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, [row], **entry)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ({"prompt": ASK, "responses": [GOOD, BAD]}, {"format": "ranked-lists"}),
        (
            {"prompt": ASK, "responses": [BAD, GOOD]},
            {"format": "ranked-lists", "better": "last"},
        ),
        ({"prompt": ASK, "responses": [BAD, GOOD], "scores": [2, 1]}, {"better": "lower"}),
        ({"prompt": ASK, "answers": [{"text": BAD, "rank": 1}, {"text": GOOD, "rank": 2}]},
         {"better": "higher"}),
        ({**SIDES, "preference_strength": 2}, {"better": "higher"}),
        ({**SIDES, "score_1": 0.1, "score_2": 0.2}, {"better": "lower"}),
    ],
)  # fmt: skip
def test_a_direction_can_be_given(tmp_path: Path, row: Row, entry: dict[str, Any]) -> None:
    [found] = pairs(read(tmp_path, [row], **entry))
    assert (found.chosen, found.rejected) == (GOOD, BAD)
    assert found.chosen_rating is not None
    assert found.rejected_rating is not None
    assert found.chosen_rating > found.rejected_rating


def test_yes_and_no_for_a_response_are_grades(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {"prompt": ASK, "completion": BAD, "label": False},
        {"prompt": ASK, "completion": GOOD, "label": True},
    ]
    assert pairs(read(tmp_path, rows)) == [Preference((TURN,), GOOD, BAD, 1.0, 0.0)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (PAIRS["SHP, A"][0], "labels names the better answer (1 means human_ref_A)"),
        (PAIRS["Nectar"][0], "the one with the lower rank"),
        (PAIRS["webgpt"][0], "the one with the higher of score_0 and score_1"),
        (
            PAIRS["Chatbot Arena, flags"][0],
            "response_a where winner_model_a is 1, response_b where winner_model_b is 1",
        ),
        (
            PAIRS["HelpSteer2"][0],
            "response_1 where preference_strength is negative, response_2 where it is positive",
        ),
        (PAIRS["LLaMA-Factory's older ranking"][0], "the first of the list output"),
        (PAIRS["OpenPipe"][0], "messages rather than rejected_message"),
    ],
)
def test_which_answer_is_better_is_said_in_words(row: Row, said: str) -> None:
    assert Reader(Dataset(source="x"), [[(1, row)]]).better == said
