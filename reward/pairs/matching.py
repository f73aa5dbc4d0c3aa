"""A format's columns, found in the first rows by the names that known sets have for them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from reward.pairs.answers import read_answers
from reward.pairs.branches import has_branches
from reward.pairs.columns import (
    BESIDE,
    COLUMNS,
    FLAGS,
    GRADE,
    HELPSTEER,
    ITEMS,
    RATINGS,
    TIED,
    Column,
)
from reward.pairs.first_rows import FirstRows
from reward.pairs.nested import as_list, plain_spelling
from reward.pairs.preference import UnusableError, is_number, yes_or_no
from reward.sources.catalogue import Dataset

MAY_REPEAT = ("pairs", "transcripts", "strength", "labels", "scores", "ratings")
"""The formats whose answers may stand at the end of their conversations."""
GRADES = Column((), GRADE)
WHOLE = ("messages", "conversations", "conversation")
"""Columns of ratings that may have the response at the end of its conversation."""


def match(name: str, entry: Dataset, first: FirstRows) -> tuple[dict[str, str], list[str]]:
    """From a format's name of each column to the dataset's, and those that are missing.

    A column is found by the entry's name for it or else by a known one, and read once. Columns that
    belong together, as both sides of a pair do, are found by names that do.
    """
    wanted = format_columns(name, entry, first)
    found = {ours: entry.columns[ours] for ours in wanted if ours in entry.columns}
    missing = [theirs for theirs in found.values() if not first.has(theirs)]
    belong_together = [tied for tied in TIED if {*tied} <= wanted.keys()]
    for tied in belong_together:
        found |= together(tied, wanted, found, first)
    if name == "ratings":
        found |= _whole_conversation(wanted["response"], found, first)
    holds_prompt = name in MAY_REPEAT and hold_prompts(found, first)
    for ours, column in wanted.items():
        if ours in found or any(ours in tied for tied in belong_together):
            continue
        names: tuple[str, ...] = (ours, *column.names) if ours not in column.names else column.names
        if ours == "input":
            names = tuple(map(first.called, beside(found)))
        if holds_prompt and ours in ("prompt", "history", "input"):
            names = (first.called("prompt"),) if ours == "prompt" else ()  # the answers repeat it
        there = [one for one in names if one not in found.values() and first.has(one)]
        fitting = [one for one in there if first.fit(column, one)]
        filled = [one for one in fitting if not all(map(_is_blank, first.values(one)))]
        if fitting or (there and column.required):
            found[ours] = (filled or fitting or there)[0]
    for ours, column in wanted.items():
        is_needed = column.required or (
            ours == "prompt" and not holds_prompt and name != "transcripts"
        )
        if ours == "label" and {"wins_1", "wins_2"} <= found.keys():
            continue
        if is_needed and ours not in found and ours not in missing:
            missing.append(ours if ours == "prompt" else (column.names or (ours,))[0])
    return found, missing


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def beside(found: dict[str, str]) -> tuple[str, ...]:
    """The columns that may go on with what stands in the prompt's."""
    return BESIDE.get(plain_spelling(found.get("prompt", "")), ())


def _whole_conversation(
    response: Column, found: dict[str, str], first: FirstRows
) -> dict[str, str]:
    """The column of conversations that end in the response, where it has no column of its own."""
    if "response" in found or any(map(first.has, response.names)):
        return {}
    for name in map(first.called, WHOLE):
        if hold_prompts({"response": name}, first):
            return {"response": name}
    return {}


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
    for side in ("chosen", "response_1", "rejected", "response"):
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
    if not any(map(first.has, HELPSTEER)):
        for name in map(first.called, RATINGS):
            if first.has(name) and first.fit(GRADES, name):
                return {name: 1.0}
        for name in map(first.called, FLAGS):  # a label of another kind is who knows what
            flags = [yes_or_no(value) for value in first.values(name)]
            if flags and all(isinstance(flag, bool) for flag in flags):
                return {name: 1.0}
    return dict.fromkeys(HELPSTEER, 1.0)


def format_columns(name: str, entry: Dataset, first: FirstRows) -> dict[str, Column]:
    """The columns of a format, those of the ratings' attributes included."""
    columns = {
        ours: replace(column, names=tuple(map(first.called, column.names)))
        for ours, column in COLUMNS[name].items()
    }
    if name == "ratings":
        columns |= {
            attribute: Column((attribute,), GRADE) for attribute in attributes(entry, first)
        }
    return columns


def nested_scores(found: dict[str, str], first: FirstRows) -> list[str]:
    """The numbers that stand one level down in a list's items, by names that lead to them."""
    names = {
        f"{key}.{inner}": None
        for item in _items(found, first)
        for key, values in item.items()
        if isinstance(values, dict)
        for inner, value in values.items()
        if is_number(value)
    }
    return [*names]


def _items(found: dict[str, str], first: FirstRows) -> Iterator[dict[str, Any]]:
    for items in first.values(found["responses"]):
        yield from (item for item in as_list(items) or [] if isinstance(item, dict))


def find_branches(entry: Dataset, found: dict[str, str], first: FirstRows) -> str | None:
    """The key of the scores of messages, where answers to one turn follow each other."""
    names = (entry.columns["score"],) if "score" in entry.columns else RATINGS
    for name in names:
        for messages in first.values(found["messages"]):
            try:
                if has_branches(messages, name):
                    return name
            except UnusableError:
                continue
    return None


def find_items(entry: Dataset, found: dict[str, str], first: FirstRows) -> dict[str, str]:
    """From response and score to the keys of a list's items, where these are objects."""
    keys = {
        key for item in _items(found, first) for key, value in item.items() if value is not None
    }
    names = {}
    for ours, known in ITEMS.items():
        candidates = (entry.columns[ours],) if ours in entry.columns else known
        if there := [name for name in candidates if name in keys or ours in entry.columns]:
            names[ours] = there[0]
    return names
