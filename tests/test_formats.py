"""reward.formats, reward.pairing and reward.groups: the shapes in which public sets come.

The files in tests/fixtures were written for this project after the public descriptions of the sets
that they are named for, every column included.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reward import groups
from reward.catalogue import Dataset
from reward.formats import Reader
from reward.pairing import Candidate
from reward.preferences import Message, Preference
from reward.rows import Row, Tolerance, read_rows
from reward.stage import InputError

FIXTURES = Path(__file__).parent / "fixtures"


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def read(tmp_path: Path, rows: list[Row | str], **entry: Any) -> list[Candidate]:
    reader = Reader(Dataset(source="x.jsonl", **entry), [rows])
    return list(reader.candidates(tmp_path, 0))


def outcome(tmp_path: Path, row: Row | str, **entry: Any) -> Preference | str:
    """What the last of two rows gave; the first is a good one of the format pairs."""
    good: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    return read(tmp_path, [good, row], **entry)[-1].outcome


def pairs(candidates: list[Candidate]) -> list[Preference]:
    return [found.outcome for found in candidates if isinstance(found.outcome, Preference)]


def reasons(candidates: list[Candidate]) -> Counter[str]:
    return Counter(found.outcome for found in candidates if isinstance(found.outcome, str))


BREAD = (Message("user", "Why does bread rise when it is baked?"),)
PRIMES = (Message("user", "Name two prime numbers above ten."),)
HELLO = (Message("user", "Hello"), Message("assistant", "Hello, how can I help?"))
SYSTEM = (Message("system", "Answer with numbers alone."),)
YEAST = "Yeast makes carbon dioxide, and the heat lets the bubbles grow before the crumb sets."


@pytest.mark.parametrize(
    ("name", "kind", "before_second", "ratings"),
    [
        ("original_helpsteer2_binarized", "pairs", HELLO, ((3.4, 1.6), (3.2, 1.2))),
        ("ultrafeedback_binarized", "pairs", (), ((8.5, 4.0), (9.0, 2.0))),
        ("reward_bench", "pairs", (), ((None, None), (None, None))),
        ("skywork_reward_preference", "pairs", SYSTEM, ((None, None), (None, None))),
        ("hh_rlhf", "transcripts", HELLO, ((None, None), (None, None))),
        # (4 + 4 + 4 + 2 + 2) / 5 = 3.2 and (1 + 2 + 4 + 0 + 0) / 5 = 1.4; 14 / 5 and 6 / 5
        ("helpsteer2", "ratings", (), ((3.2, 1.4), (2.8, 1.2))),
        ("ultrafeedback", "scored-lists", (), ((8.5, 3.0), (9.0, 2.0))),
        ("helpsteer3", "strength", HELLO, ((3.0, 0.0), (2.0, 0.0))),
    ],
)
@pytest.mark.parametrize("is_named", [False, True])
def test_public_sets(
    tmp_path: Path,
    name: str,
    kind: str,
    before_second: tuple[Message, ...],
    ratings: tuple[tuple[float | None, float | None], ...],
    is_named: bool,
) -> None:
    path = FIXTURES / f"{name}.jsonl"
    entry = Dataset.model_validate({"source": str(path), "format": kind if is_named else None})
    reader = Reader(entry, read_rows({path.name: path}, Tolerance(0)))
    candidates = list(reader.candidates(tmp_path, path.stat().st_size))
    assert reader.format == kind
    assert pairs(candidates) == [
        Preference(BREAD, YEAST, "Because it is hot.", *ratings[0]),
        Preference((*before_second, *PRIMES), "11 and 13.", "12 and 15.", *ratings[1]),
    ]
    # HelpSteer's third prompt has two responses that are rated alike.
    assert reasons(candidates) == ({"tie": 1} if name in ("helpsteer2", "helpsteer3") else {})


# pairs


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": [user("Why?")], "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": [assistant("So.")], "rejected": [assistant("No.")]},
        {
            "prompt": "Why?",
            "chosen": [user("Why?"), assistant("So.")],
            "rejected": [user("Why? "), assistant("No.")],
        },
        {"chosen": [user("Why?"), assistant("So.")], "rejected": [user("Why?"), assistant("No.")]},
    ],
    ids=["strings", "prompt of messages", "answers alone", "prompt repeated", "implicit prompt"],
)
def test_every_spelling_gives_the_same_pair(tmp_path: Path, row: Row) -> None:
    expected = Preference((Message("user", "Why?"),), "So.", "No.", None, None)
    assert pairs(read(tmp_path, [row])) == [expected]


def test_a_system_turn_that_the_prompt_column_leaves_out_is_kept(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    found = outcome(
        tmp_path,
        {
            "prompt": "Why?",
            "chosen": [system, user("Why?"), assistant("So.")],
            "rejected": [system, user("Why?"), assistant("No.")],
        },
    )
    assert isinstance(found, Preference)
    assert found.prompt == (Message("system", "Be brief."), Message("user", "Why?"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("broken_text", "broken_text"),
        ({"prompt": "Why?", "chosen": "So."}, "missing_rejected"),
        ({"prompt": None, "chosen": "So.", "rejected": "No."}, "missing_prompt"),
        ({"prompt": "Why?", "chosen": 3, "rejected": "No."}, "wrong_type"),
        ({"prompt": "Why?", "chosen": ["So."], "rejected": "No."}, "wrong_type"),
        ({"prompt": "Why?", "chosen": [{"role": "user"}], "rejected": "No."}, "wrong_type"),
        ({"prompt": {"role": "user"}, "chosen": "So.", "rejected": "No."}, "wrong_type"),
        ({"prompt": "Why?", "chosen": [], "rejected": "No."}, "empty_response"),
        ({"prompt": [], "chosen": "So.", "rejected": "No."}, "empty_prompt"),
        ({"prompt": "Why?", "chosen": [user("Why?")], "rejected": "No."}, "no_response"),
        (
            {
                "prompt": "How?",
                "chosen": [user("Why?"), assistant("So.")],
                "rejected": [user("Why?"), assistant("No.")],
            },
            "prompts_differ",
        ),
        (
            {
                "chosen": [user("Why?"), assistant("So.")],
                "rejected": [user("How?"), assistant("No.")],
            },
            "prompts_differ",
        ),
    ],
)
def test_a_row_without_a_pair_has_a_reason(tmp_path: Path, row: Row | str, reason: str) -> None:
    assert outcome(tmp_path, row) == reason


def test_row_numbers_count_from_one(tmp_path: Path) -> None:
    good: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    assert [found.row for found in read(tmp_path, [good, "unreadable", good])] == [1, 2, 3]


# transcripts


def test_transcripts_with_a_prompt_column(tmp_path: Path) -> None:
    row = {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " So.", "rejected": " No."}
    [found] = read(tmp_path, [row])
    assert found.outcome == Preference((Message("user", "Why?"),), " So.", " No.", None, None)


def test_a_speaker_in_the_middle_of_a_line_is_no_turn(tmp_path: Path) -> None:
    text = "\n\nHuman: What does 'Assistant: hi' mean?\n\nAssistant: A\n\nB {}"
    [found] = read(tmp_path, [{"chosen": text.format(1), "rejected": text.format(2)}])
    asked = (Message("user", "What does 'Assistant: hi' mean?"),)
    assert found.outcome == Preference(asked, "A\n\nB 1", "A\n\nB 2", None, None)


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ("So.", "not_a_transcript"),
        ("First\n\nHuman: Why?\n\nAssistant: So.", "not_a_transcript"),
        ("\n\nHuman: Why?", "no_response"),
        ("\n\nHuman: How?\n\nAssistant: So.", "prompts_differ"),
    ],
)
def test_a_transcript_without_a_pair_has_a_reason(tmp_path: Path, chosen: str, reason: str) -> None:
    rejected = "\n\nHuman: Why?\n\nAssistant: No."
    row: Row = {"chosen": chosen, "rejected": rejected}
    [found] = read(tmp_path, [row], format="transcripts")
    assert found.outcome == reason


# ratings


def rated(prompt: str, response: str | None, *values: Any) -> Row:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return {"prompt": prompt, "response": response, **dict(zip(names, values, strict=True))}


@pytest.mark.parametrize("count", [1, 7])
def test_groups_need_not_be_adjacent_or_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(groups, "BATCH_ROWS", 5)
    monkeypatch.setattr(groups, "BUCKET_BYTES", 1)
    rows = [
        rated(f"Prompt {n}", f"Response {n}.{k}", k, k, k, k, k)
        for n in range(30)
        for k in range(3)
    ]
    expected = {
        (f"Prompt {n}", f"Response {n}.{high}", f"Response {n}.{low}", float(high), float(low))
        for n in range(30)
        for high, low in ((2, 1), (2, 0), (1, 0))
    }
    random.Random(0).shuffle(rows)
    reader = Reader(Dataset(source="x.jsonl"), [[*rows]])
    found = pairs(list(reader.candidates(tmp_path, count)))
    assert len(found) == 90
    assert expected == {
        (p.prompt[0].content, p.chosen, p.rejected, p.chosen_rating, p.rejected_rating)
        for p in found
    }
    assert not list(tmp_path.iterdir())


def test_a_rating_is_the_weighted_mean_of_the_attributes(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        rated("Why?", "So.", 4, 3, 4, 1, 2),
        rated("Why?", "No.", 1, 1, 1, 1, 4),
    ]
    weights = {"helpfulness": 3, "verbosity": -1}
    [found] = pairs(read(tmp_path, rows, attributes=weights))
    # (3 * 4 - 2) / 2 = 5 and (3 * 1 - 4) / 2 = -0.5
    assert (found.chosen_rating, found.rejected_rating) == (5.0, -0.5)


def test_ratings_that_are_equal_by_hand_are_a_tie(tmp_path: Path) -> None:
    # 0.1 * 3 is 0.30000000000000004 in binary, 0.3 * 1 is not.
    rows: list[Row | str] = [
        {"prompt": "Why?", "response": "So.", "a": 3, "b": 0},
        {"prompt": "Why?", "response": "No.", "a": 0, "b": 1},
    ]
    found = read(tmp_path, rows, format="ratings", attributes={"a": 0.1, "b": 0.3})
    assert reasons(found) == {"tie": 1}
    assert not pairs(found)


def test_what_gives_no_rated_pair_has_a_reason(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        rated("One?", "Alone.", 1, 1, 1, 1, 1),
        rated("Two?", "Unrated.", 1, 1, None, 1, 1),
        rated("Two?", "Rated.", 1, 1, 1, 1, 1),
        rated("Three?", "Odd.", 1, 1, "4", 1, 1),
        rated("Three?", None, 1, 1, 1, 1, 1),
        "broken_text",
    ]
    assert reasons(read(tmp_path, rows)) == {
        "single_response": 2,
        "missing_rating": 1,
        "rating_not_a_number": 1,
        "missing_response": 1,
        "broken_text": 1,
    }


def test_all_pairs_or_best_against_worst(tmp_path: Path) -> None:
    rows: list[Row | str] = [rated("Why?", f"{n}", n, n, n, n, n) for n in (2, 0, 1, 2)]
    everything = read(tmp_path, rows, comparisons="all")
    assert Counter((p.chosen, p.rejected) for p in pairs(everything)) == {
        ("2", "1"): 2,
        ("2", "0"): 2,
        ("1", "0"): 1,
    }
    assert reasons(everything) == {"tie": 1}
    [extremes] = pairs(read(tmp_path, rows, comparisons="best-worst"))
    assert (extremes.chosen, extremes.rejected) == ("2", "0")


def test_flattened_turns_and_lone_surrogates_in_ratings(tmp_path: Path) -> None:
    prompt = "Hello\n<extra_id_1>Assistant\nHello, how can I help?\n<extra_id_1>User\nWhy?"
    rows: list[Row | str] = [
        rated(prompt, "So. \ud800", 2, 2, 2, 2, 2),
        rated(prompt, "No.", 1, 1, 1, 1, 1),
    ]
    [found] = pairs(read(tmp_path, rows))
    assert found.prompt == (*HELLO, Message("user", "Why?"))
    assert found.chosen == "So. \ud800"  # reward.quality counts it


# scored lists


def listed(*scored: tuple[str | None, Any]) -> Row:
    items = [{"text": text, "score": score} for text, score in scored]
    return {"instruction": "Why?", "responses": items}


@pytest.mark.parametrize(
    ("comparisons", "expected"),
    [
        (None, [("best", "worst")]),
        ("best-worst", [("best", "worst")]),
        ("all", [("best", "middle"), ("best", "worst"), ("middle", "worst")]),
    ],
)
def test_which_responses_of_a_list_are_compared(
    tmp_path: Path, comparisons: str | None, expected: list[tuple[str, str]]
) -> None:
    rows: list[Row | str] = [listed(("middle", 2), ("best", 4.5), ("worst", 1))]
    found = pairs(read(tmp_path, rows, comparisons=comparisons))
    assert [(pair.chosen, pair.rejected) for pair in found] == expected
    assert (found[0].chosen_rating, found[-1].rejected_rating) == (4.5, 1.0)


def test_scores_in_a_list_of_their_own(tmp_path: Path) -> None:
    row: Row = {"prompt": "Why?", "generations": ["No.", "So."], "ratings": [1, 5]}
    [found] = read(tmp_path, [row])
    assert found.outcome == Preference((Message("user", "Why?"),), "So.", "No.", 5.0, 1.0)
    short: Row = row | {"ratings": [1]}
    assert reasons(read(tmp_path, [row, short])) == {"scores_and_responses_differ": 1}


def test_the_score_of_a_list_can_be_another_one(tmp_path: Path) -> None:
    path = FIXTURES / "ultrafeedback.jsonl"
    rows: list[Row | str] = [json.loads(line) for line in path.read_text().splitlines()]
    found = pairs(read(tmp_path, rows, columns={"score": "fine-grained_score"}))
    assert [(pair.chosen_rating, pair.rejected_rating) for pair in found] == [(4.75, 1.5), (5, 1)]


def test_what_gives_no_pair_of_a_list_has_a_reason(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        listed(("good", 2), (None, 4), ("unscored", None), ("bad", 1)),
        listed(),
        listed(("alone", 1)),
        listed(("one", 1), ("other", 1)),
    ]
    found = read(tmp_path, rows)
    assert len(pairs(found)) == 1
    assert reasons(found) == {
        "missing_response": 2,
        "missing_rating": 1,
        "single_response": 1,
        "tie": 1,
    }


# strength


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (-3, ("first", "second", 3.0)),
        (1, ("second", "first", 1.0)),
        (0, "tie"),
        (None, "missing_rating"),
        ("2", "rating_not_a_number"),
    ],
)
def test_strength(tmp_path: Path, strength: Any, expected: str | tuple[str, str, float]) -> None:
    row: Row = {"prompt": "Why?", "response_1": "first", "response_2": "second"}
    good: Row = row | {"preference_strength": 1}
    found = read(tmp_path, [good, row | {"preference_strength": strength}])[-1].outcome
    if isinstance(found, Preference):
        assert found.rejected_rating == 0.0
        assert (found.chosen, found.rejected, found.chosen_rating) == expected
    else:
        assert found == expected


# columns


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    names = {"prompt": "question", "chosen": "good", "rejected": "bad", "chosen_rating": "stars"}
    row: Row = {"question": "Why?", "good": "So.", "bad": "No.", "stars": 5, "prompt": "Not this."}
    [found] = read(tmp_path, [row], columns=names)
    assert found.outcome == Preference((Message("user", "Why?"),), "So.", "No.", 5.0, None)


@pytest.mark.parametrize(
    ("rows", "entry", "sentence"),
    [
        (
            [{"question": "Why?", "chosen": [user("Why?")]}],
            {},
            r"no column rejected \(there are: question, chosen\)",
        ),
        (
            ["broken_text", {"chosen": "So.", "rejected": "No."}],
            {},
            r"no column prompt \(there are: chosen, rejected\)",
        ),
        (
            [{"prompt": "Why?", "response": "So.", "helpfulness": 4}],
            {},
            r"of no known format \(its columns: prompt, response, helpfulness\): name its `format`",
        ),
        (
            [{"prompt": "Why?", "response": "So.", "helpfulness": 4}],
            {"format": "ratings"},
            "no column correctness and no column coherence",
        ),
        (
            [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}],
            {"columns": {"prompt": "question"}},
            r"no column question \(there are: prompt, chosen, rejected\)",
        ),
        (
            [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}],
            {"columns": {"question": "prompt"}},
            r"format pairs of x\.jsonl has no column question \(there are: prompt, chosen, ",
        ),
        (
            [{"prompt": "Why?", "chosen": 1, "rejected": 2}],
            {},
            "The column chosen of x.jsonl holds int and not text or messages: map another one",
        ),
        (
            [{"prompt": "Why?", "response1": "A", "response2": "B", "overall_preference": "1"}],
            {},
            "The column overall_preference of x.jsonl holds str and not numbers",
        ),
        ([], {}, r"x\.jsonl begins with no readable row"),
    ],
)
def test_columns_that_do_not_fit_end_in_one_sentence(
    tmp_path: Path, rows: list[Row | str], entry: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, rows, **entry)
    assert "\n" not in str(caught.value)


def test_a_column_that_some_rows_lack_is_no_missing_column(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        {"prompt": "Why?"},
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
    ]
    assert len(pairs(read(tmp_path, rows))) == 1
