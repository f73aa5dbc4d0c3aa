"""A format's columns, found in the first rows by the names that known sets have for them."""

from reward.pairs.answers import read_answers
from reward.pairs.columns import (
    BESIDE_INPUT,
    COLUMNS,
    GRADE,
    HELPSTEER,
    ITEMS,
    RATINGS,
    TIED,
    Column,
)
from reward.pairs.first_rows import FirstRows
from reward.pairs.nested import as_list
from reward.pairs.preference import UnusableError
from reward.sources.catalogue import Dataset

MAY_REPEAT = ("pairs", "transcripts", "strength", "labels", "scores")
"""The formats whose answers may stand at the end of their conversations."""
GRADES = Column((), GRADE)


def match(name: str, entry: Dataset, first: FirstRows) -> tuple[dict[str, str], list[str]]:
    """From a format's name of each column to the dataset's, and those that are missing.

    A column is found by the entry's name for it or else by a known one, and read once. Columns that
    belong together, as both sides of a pair do, are found by names that do.
    """
    wanted = format_columns(name, entry, first)
    found = {ours: entry.columns[ours] for ours in wanted if ours in entry.columns}
    missing = [theirs for theirs in found.values() if not first.has(theirs)]
    for tied in TIED:
        if {*tied} <= wanted.keys():
            found |= together(tied, wanted, found, first)
    holds_prompt = name in MAY_REPEAT and hold_prompts(found, first)
    for ours, column in wanted.items():
        if ours in found or any(ours in tied for tied in TIED):
            continue
        names: tuple[str, ...] = (ours, *column.names) if ours not in column.names else column.names
        if holds_prompt and ours in ("prompt", "history", "input"):
            names = ("prompt",) if ours == "prompt" else ()  # the answers repeat it
        if ours == "input" and found.get("prompt") not in BESIDE_INPUT:
            continue
        there = [one for one in names if one not in found.values() and first.has(one)]
        fitting = [one for one in there if first.fit(column, one)]
        if fitting or (there and column.required):
            found[ours] = (fitting or there)[0]
    for ours, column in wanted.items():
        is_needed = column.required or (
            ours == "prompt" and not holds_prompt and name != "transcripts"
        )
        if ours == "label" and {"wins_1", "wins_2"} <= found.keys():
            continue
        if is_needed and ours not in found and ours not in missing:
            missing.append(ours if ours == "prompt" else (column.names or (ours,))[0])
    return found, missing


def together(
    tied: tuple[str, ...], wanted: dict[str, Column], found: dict[str, str], first: FirstRows
) -> dict[str, str]:
    """The first names that belong together and are there; where the entry names one of them, or
    one side of a pair alone is rated, whichever are there.
    """
    open_ones = [ours for ours in tied if ours not in found]
    choices = [*zip(*(wanted[ours].names for ours in tied), strict=True)]
    if len(open_ones) == len(tied):
        whole = [names for names in choices if all(first.has(name) for name in names)]
        fitting = [
            names
            for names in whole
            if all(first.fit(wanted[ours], one) for ours, one in zip(tied, names, strict=True))
        ]
        required = all(wanted[ours].required for ours in tied)
        if fitting or (whole and required):
            return dict(zip(tied, (fitting or whole)[0], strict=True))
        if not tied[0].startswith("chosen"):
            return {}
    parts: dict[str, str] = {}
    for ours in open_ones:
        taken = {*found.values(), *parts.values()}
        for one in (ours, *wanted[ours].names):
            fits = wanted[ours].required or first.fit(wanted[ours], one)
            if one not in taken and fits and first.has(one):
                parts[ours] = one
                break
    return parts


def hold_prompts(found: dict[str, str], first: FirstRows) -> bool:
    """Whether answers stand at the end of their conversations, so that no prompt is needed."""
    for side in ("chosen", "response_1", "rejected"):
        if side in found:
            for value in first.values(found[side]):
                try:
                    answers = read_answers(value, side)
                except UnusableError:
                    continue
                if answers[0].turns and answers[0].turns[0].role != "assistant":
                    return True
                if answers[0].turns:
                    break
    return False


def attributes(entry: Dataset, first: FirstRows) -> dict[str, float]:
    """The weight of each attribute of a rating: the entry's own, HelpSteer's five weighted alike
    where they are there, or the one column that is called a rating.
    """
    if entry.attributes:
        return entry.attributes
    names = first.names
    if not {*HELPSTEER} & {*names}:
        numbers = [name for name in RATINGS if name in names and first.fit(GRADES, name)]
        # A label is a grade where it says yes or no, as KTO's data do, and else who knows what.
        if numbers == ["label"] and not all(
            isinstance(label, bool) for label in first.values("label")
        ):
            numbers = []
        if numbers:
            return {numbers[0]: 1.0}
    return dict.fromkeys(HELPSTEER, 1.0)


def format_columns(name: str, entry: Dataset, first: FirstRows) -> dict[str, Column]:
    """The columns of a format, those of the ratings' attributes included."""
    columns = dict(COLUMNS[name])
    if name == "ratings":
        columns |= {
            attribute: Column((attribute,), GRADE) for attribute in attributes(entry, first)
        }
    return columns


def find_items(entry: Dataset, found: dict[str, str], first: FirstRows) -> dict[str, str]:
    """From response and score to the keys of a list's items, where these are objects."""
    keys: dict[str, None] = {}
    for items in first.values(found["responses"]):
        for item in as_list(items) or []:
            if isinstance(item, dict):
                keys |= dict.fromkeys(key for key, value in item.items() if value is not None)
    names = {}
    for ours, known in ITEMS.items():
        candidates = (entry.columns[ours],) if ours in entry.columns else known
        if there := [name for name in candidates if name in keys or ours in entry.columns]:
            names[ours] = there[0]
    return names
