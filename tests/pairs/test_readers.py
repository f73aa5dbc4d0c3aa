"""reward.pairs.readers: what a row of each format gives, a pair or the reason why there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from reward.pairs.preference import Message, Preference, UnusableError
from reward.pairs.rankings import mean_rating
from reward.pairs.reading import Reading
from reward.pairs.rows import Row
from tests.support.candidates import FIXTURES, assistant, pairs, read, reasons, user


def shown(outcome: Preference | UnusableError) -> Preference | str:
    """A pair, or the reason why there is none."""
    return outcome.reason if isinstance(outcome, UnusableError) else outcome


def outcome(tmp_path: Path, row: Row | str, **entry: Any) -> Preference | str:
    """What the last of two rows gave; the first is a good one of the format pairs."""
    good: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
    return shown(read(tmp_path, [good, row], **entry)[-1].outcome)


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


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.7, ("So.", "No.", 0.7, 0.3)),
        (1, ("So.", "No.", 1.0, 0.0)),
        (0.2, ("No.", "So.", 0.8, 0.2)),  # chosen is what more prefer
        (0.5, ("So.", "No.", 0.5, 0.5)),  # a tie, of which download.quality.tie decides
        (None, ("So.", "No.", 4.0, 3.0)),
    ],
)
def test_a_share_that_prefers_chosen_is_its_rating(
    tmp_path: Path, share: float | None, expected: tuple[str, str, float, float]
) -> None:
    row: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "chosen_share": share}
    found = outcome(tmp_path, row | {"chosen_rating": 4, "rejected_rating": 3})
    assert isinstance(found, Preference)
    assert (found.chosen, found.rejected, found.chosen_rating, found.rejected_rating) == expected


@pytest.mark.parametrize("share", [-0.1, 1.01, 2])
def test_a_share_out_of_range_gives_no_pair(tmp_path: Path, share: float) -> None:
    row: Row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "chosen_share": share}
    assert outcome(tmp_path, row) == "share_not_between_0_and_1"


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
        ({"prompt": "Why?", "chosen": [3], "rejected": "No."}, "wrong_type"),
        (
            {"prompt": "Why?", "chosen": [{"role": "user"}], "rejected": "No."},
            "message_without_text",
        ),
        ({"prompt": {"role": "user"}, "chosen": "So.", "rejected": "No."}, "message_without_text"),
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
    assert shown(found.outcome) == reason


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


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"a": 1e-300, "b": 0}, None),
        ({"a": 1e13, "b": -0.99999e13}, "rating_too_large"),
        ({"a": 1e308, "b": 1e308}, "rating_too_large"),
        ({"a": 1.7e308, "b": -1e308}, "rating_not_a_number"),
    ],
)
def test_a_mean_that_overflows_is_no_rating(weights: dict[str, float], reason: str | None) -> None:
    row: Row = {"a": 1e12, "b": -1e12 if weights["b"] < 0 else 5}
    if reason is None:
        assert mean_rating(row, Reading(attributes=weights)) == 1e12
    else:
        with pytest.raises(UnusableError, match=reason):
            mean_rating(row, Reading(attributes=weights))


# strength


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        (-3, ("first", "second", 3.0)),
        (1, ("second", "first", 1.0)),
        (0, "tie"),
        (None, "missing_rating"),
        ("2", ("second", "first", 2.0)),
        ("two", "rating_not_a_number"),
        (-(10**400), "rating_not_a_number"),  # more than a float holds
    ],
)
def test_strength(tmp_path: Path, strength: Any, expected: str | tuple[str, str, float]) -> None:
    row: Row = {"prompt": "Why?", "response_1": "first", "response_2": "second"}
    good: Row = row | {"preference_strength": 1}
    found = shown(read(tmp_path, [good, row | {"preference_strength": strength}])[-1].outcome)
    if isinstance(found, Preference):
        assert found.rejected_rating == 0.0
        assert (found.chosen, found.rejected, found.chosen_rating) == expected
    else:
        assert found == expected


def test_turns_by_which_one_side_goes_on_are_not_the_other_sides(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"name": "look", "arguments": {}}]}
    tool = {"role": "tool", "content": "18"}
    row: Row = {"prompt": [user("Hot?")], "chosen": [call, tool, assistant("18.")]}
    [found] = read(tmp_path, [row | {"rejected": [assistant("No idea.")]}])
    assert isinstance(found.outcome, UnusableError)
    assert found.outcome.reason == "prompts_differ"
    [found] = read(tmp_path, [row | {"rejected": [call, tool, assistant("19.")]}])
    assert isinstance(found.outcome, Preference)
    assert [turn.role for turn in found.outcome.prompt] == ["user", "assistant", "tool"]
