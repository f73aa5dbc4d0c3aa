"""reward.pairs.quality: what is wrong with a pair, and what becomes of it."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from reward.pairs.preference import Message, Preference, UnusableError
from reward.pairs.quality import BLANK, KINDS, is_blank, judge
from reward.pairs.settings import Action, Quality

ASKED = "Name a prime number that is above ten."
PAIR = Preference((Message("user", ASKED),), "Eleven.", "Ten.", 4.0, 1.5)


def every(action: Action, kind: str | None = None, other: Action = "drop") -> dict[str, Action]:
    """The same action for every kind, but for one kind another one."""
    actions = dict.fromkeys(Quality.model_fields, action)
    return actions if kind is None else actions | {kind: other}


def holds_control(prompt: Iterable[tuple[str, str]], answers: Iterable[str]) -> bool:
    """What download takes from the backbone, for one whose only control token is <|end|>."""
    return any("<|end|>" in text for text in [*chain.from_iterable(prompt), *answers])


def dropped(pair: Preference, actions: dict[str, Action]) -> str:
    with pytest.raises(UnusableError) as caught:
        judge(pair, actions, holds_control)
    return caught.value.reason


def test_every_check_has_a_switch_and_the_other_way_round() -> None:
    assert {*KINDS, "duplicate", "contradiction"} == set(Quality.model_fields)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"chosen_rating": None},
        {"chosen": "Tabs\tand\r\nline ends, ü and \U0001f600"},
        {"chosen": "Name a prime number"},  # not the whole prompt
        {"prompt": (Message("user", "Ten?"),), "chosen": "Ten? Eleven."},  # too short for an echo
        {"prompt": (Message("user", "Ten?"), Message("tool", "11"))},
        {"chosen": "\u2764\ufe0f", "rejected": "\u2764"},  # seen: another picture
        {
            "chosen": "\u0645\u06cc\u200c\u0634\u0648\u062f",
            "rejected": "\u0645\u06cc\u0634\u0648\u062f",
        },
    ],
)
def test_a_good_pair_has_no_problem(change: dict[str, Any]) -> None:
    assert judge(replace(PAIR, **change), every("drop"), holds_control) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"prompt": (Message("user", " \n"),)}, "empty_prompt"),
        ({"chosen": " \t"}, "empty_response"),
        ({"rejected": ""}, "empty_response"),
        ({"prompt": (Message("user", "\u200b\u2060 \ufeff"),)}, "empty_prompt"),
        ({"chosen": "\u200b"}, "empty_response"),
        ({"rejected": "\u200e\u00ad\u3164 \u2800"}, "empty_response"),
        ({"rejected": "Eleven.\n"}, "identical_responses"),
        ({"rejected": "Eleven.\u200b"}, "identical_responses"),
        ({"rejected": "\ufeff \u2060Eleven. \u200d\n"}, "identical_responses"),
        ({"rejected_rating": 4.0}, "tie"),
        ({"rejected_rating": 4.5}, "rating_contradicts_order"),
        ({"rejected": f"\n{ASKED} Ten."}, "repeats_prompt"),
        ({"chosen": "\x1b[31mEleven"}, "control_characters"),
        ({"prompt": (Message("user", "Why\x00?"),)}, "control_characters"),
        ({"chosen": "Eleven\x85"}, "control_characters"),
        ({"rejected": "T\ufffdn"}, "replacement_characters"),
        ({"rejected": "Ten.<|end|>"}, "control_tokens"),
        ({"prompt": (Message("user", "Why?<|end|>"),)}, "control_tokens"),
    ],
)
def test_each_problem_can_be_dropped_counted_or_ignored(change: dict[str, Any], kind: str) -> None:
    pair = replace(PAIR, **change)
    assert dropped(pair, every("ignore", kind, "drop")) == kind
    assert judge(pair, every("drop", kind, "count"), holds_control) == [kind]
    assert judge(pair, every("drop", kind, "ignore"), holds_control) == []


def test_without_a_backbone_control_tokens_are_not_looked_for() -> None:
    assert judge(replace(PAIR, chosen="<|end|>"), every("drop"), None) == []


def test_all_problems_of_a_kept_pair_are_counted() -> None:
    pair = replace(PAIR, chosen="\x00", rejected="\ufffd", rejected_rating=4.0)
    problems = ["tie", "control_characters", "replacement_characters"]
    assert judge(pair, every("count"), holds_control) == problems
    assert dropped(pair, every("count", "control_characters", "drop")) == "control_characters"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rejected": "\ud800"}, "broken_text"),
        ({"prompt": (Message("\udfff", "Hi"),)}, "broken_text"),
        ({"prompt": (Message("system", "Be kind."),)}, "prompt_not_from_user"),
        ({"prompt": (Message("user", "Hi"), Message("assistant", "Ho"))}, "prompt_not_from_user"),
        ({"prompt": ()}, "empty_prompt"),
    ],
)
def test_what_no_later_stage_can_take_is_dropped_in_any_case(
    change: dict[str, Any], reason: str
) -> None:
    assert dropped(replace(PAIR, **change), every("ignore")) == reason


def test_all_white_space_is_blank() -> None:
    assert all(letter in BLANK for letter in map(chr, range(0x110000)) if letter.isspace())
    assert is_blank(BLANK)
    assert not any(letter in BLANK for letter in map(chr, range(0x21, 0x7F)))
