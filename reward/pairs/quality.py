"""What can be wrong with a pair, and what becomes of it then.

A pair is dropped for the first of its problems whose action is drop, and keeps the others.
Duplicates and contradictions are between pairs: reward.pairs.repeats finds them.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from reward.pairs.preference import Message, Preference, UnusableError
from reward.pairs.settings import Action

HoldsControl = Callable[[Iterable[tuple[str, str]], Iterable[str]], bool]
"""Whether turns of (role, content) or answers to them hold control tokens: those of a backbone,
which this room does not know (reward.tokens.control_tokens)."""

# C0 and C1 without tab, line feed and carriage return: left by a broken tool, typed by nobody.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
REPLACEMENT = "\ufffd"  # what a decoder writes for bytes that it did not understand
# White space, and characters that show nothing: zero-width ones, marks of writing direction, the
# soft hyphen and letters without a form (Unicode's categories Zs, Zl and Zp, and the part of its
# Default_Ignorable_Code_Point and of its blanks that texts on the web are seen to have).
BLANK = "".join(
    map(
        chr,
        (
            *range(0x09, 0x0E),
            *range(0x1C, 0x21),
            *(0x85, 0xA0, 0xAD, 0x034F, 0x061C, 0x115F, 0x1160, 0x1680, 0x17B4, 0x17B5),
            *range(0x180B, 0x1810),
            *range(0x2000, 0x2010),
            *range(0x2028, 0x2030),
            *range(0x205F, 0x2070),
            *(0x2800, 0x3000, 0x3164, 0xFEFF, 0xFFA0),
        ),
    )
)
SHORTEST_ECHO = 20  # characters; an answer may well begin with a shorter question


def judge(
    pair: Preference, actions: dict[str, Action], holds_control: HoldsControl | None
) -> list[str]:
    """The problems that a pair is kept with, given the action of each kind of them.

    holds_control: None does not look for control tokens.
    Raises UnusableError with the reason where the pair is to be dropped.
    """
    if any(_is_broken(text) for text in _texts(pair)):
        raise UnusableError("broken_text")
    check_answerable(pair.prompt)
    checks = CHECKS
    if holds_control:
        checks = checks | {
            "control_tokens": lambda pair: holds_control(pair.prompt, (pair.chosen, pair.rejected))
        }
    found = []
    for kind, is_wrong in checks.items():
        if actions[kind] != "ignore" and is_wrong(pair):
            if actions[kind] == "drop":
                raise UnusableError(kind)
            found.append(kind)
    return found


def check_answerable(prompt: Sequence[Message]) -> None:
    """Raise UnusableError where a prompt does not end with a turn that the assistant answers: the
    user's, or what a tool gave back.
    """
    if not prompt:
        raise UnusableError("empty_prompt", "prompt")
    if prompt[-1].role not in ("user", "tool"):
        raise UnusableError("prompt_not_from_user", "prompt", prompt[-1].role)


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space and characters without width."""
    return not text.strip(BLANK)


def _texts(pair: Preference) -> list[str]:
    return [*(text for turn in pair.prompt for text in turn), pair.chosen, pair.rejected]


def _is_broken(text: str) -> bool:
    # A lone surrogate: JSON can spell one ("\ud800"), UTF-8, and so a tokenizer, cannot hold it.
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def has_no_prompt(pair: Preference) -> bool:
    return all(is_blank(turn.content) for turn in pair.prompt)


def has_an_empty_response(pair: Preference) -> bool:
    return is_blank(pair.chosen) or is_blank(pair.rejected)


def has_identical_responses(pair: Preference) -> bool:
    return pair.chosen.strip(BLANK) == pair.rejected.strip(BLANK)


def is_a_tie(pair: Preference) -> bool:
    return pair.chosen_rating is not None and pair.chosen_rating == pair.rejected_rating


def is_rated_the_other_way(pair: Preference) -> bool:
    return (
        pair.chosen_rating is not None
        and pair.rejected_rating is not None
        and pair.chosen_rating < pair.rejected_rating
    )


def has_other_earlier_turns(pair: Preference) -> bool:
    return pair.earlier_turns_differ


def repeats_its_prompt(pair: Preference) -> bool:
    asked = pair.prompt[-1].content.strip()
    if len(asked) < SHORTEST_ECHO:
        return False
    return any(side.lstrip().startswith(asked) for side in (pair.chosen, pair.rejected))


def has_control_characters(pair: Preference) -> bool:
    return any(CONTROL.search(text) for text in _texts(pair))


def has_replacement_characters(pair: Preference) -> bool:
    return any(REPLACEMENT in text for text in _texts(pair))


CHECKS: dict[str, Callable[[Preference], bool]] = {
    "empty_prompt": has_no_prompt,
    "empty_response": has_an_empty_response,
    "identical_responses": has_identical_responses,
    "tie": is_a_tie,
    "rating_contradicts_order": is_rated_the_other_way,
    "earlier_turns_differ": has_other_earlier_turns,
    "repeats_prompt": repeats_its_prompt,
    "control_characters": has_control_characters,
    "replacement_characters": has_replacement_characters,
}
KINDS = (*CHECKS, "control_tokens")  # all that a pair can have by itself
