"""The format of a dataset and the columns that it reads, found by the first rows."""

from string import ascii_letters

from reward.harness.errors import InputError
from reward.pairs.columns import BESIDE_INPUT, COLUMNS, ITEMS, MARKS, Column
from reward.pairs.conversation import is_transcript
from reward.pairs.first_rows import FirstRows, listed
from reward.pairs.labels import Labels
from reward.pairs.matching import (
    find_items,
    format_columns,
    hold_prompts,
    match,
    together,
)
from reward.sources.catalogue import Dataset

ORDER = (
    *("pairs", "strength", "scored-lists", "labels", "scores", "ranked-lists", "trees", "ratings"),
)
"""The formats in the order in which they are tried: a set with chosen and rejected answers may well
have lists of scores beside them."""

LISTS = ("scored-lists", "ranked-lists")


def detect(entry: Dataset, first: FirstRows) -> str:
    """The format that the columns of the rows fit. Raises InputError where there is none."""
    if not first.rows:
        raise InputError(
            f"{entry.source} begins with no readable row: fetch it again, or save it as UTF-8 with "
            f"one JSON object per line."
        )
    for fits_too in (True, False):
        for name in ORDER:
            found, missing = match(name, entry, first)
            if missing or (name == "pairs" and _name_answers(entry, first)):
                continue
            if _fit(name, entry, found, first) if fits_too else name not in LISTS:
                return "transcripts" if name == "pairs" and _are_spoken(found, first) else name
    columns = first.names
    if {"chosen", "rejected"} & {*columns, *entry.columns}:
        return "pairs"
    found, missing = match("scored-lists", entry, first)
    if not missing:
        raise InputError(
            f"The lists in the column {found['responses']} of {entry.source} have no scores: name "
            f"their column (`columns: {{scores: ...}}`, or `score` for a key of their items) in "
            f"its entry of params.yaml, or write `format: ranked-lists` there if the first answer "
            f"of each list is the best."
        )
    raise InputError(
        f"{entry.source} is of no known format (its columns: {listed(columns)}): name "
        f"its `format` ({', '.join(COLUMNS)}) and the `columns` that differ in its entry of "
        f"params.yaml."
    )


def _fit(name: str, entry: Dataset, found: dict[str, str], first: FirstRows) -> bool:
    """Whether the columns hold what the format needs."""
    wanted = format_columns(name, entry, first)
    if not all(first.fit(wanted[ours], theirs) for ours, theirs in found.items()):
        return False
    if name == "scored-lists":
        return "scores" in found or "score" in find_items(entry, found, first)
    if name == "ranked-lists":  # that the first answer is the best, only few names say
        return found["responses"] in wanted["responses"].names
    return True


def _name_answers(entry: Dataset, first: FirstRows) -> bool:
    """Whether the column chosen has no answers but labels, which name one of two other columns."""
    two = together(("response_1", "response_2"), format_columns("labels", entry, first), {}, first)
    if len(two) < 2 or "chosen" in entry.columns:
        return False
    labels = Labels(two["response_1"], two["response_2"], "chosen", entry.labels)
    values = first.values("chosen")
    return bool(values) and all(
        isinstance(value, str | int) and labels.winner(value) for value in values
    )


def _are_spoken(found: dict[str, str], first: FirstRows) -> bool:
    """Whether most prompts, or else most chosen answers, are transcripts."""
    for side in ("prompt", "chosen"):
        values = first.values(found[side]) if side in found else []
        texts = [value for value in values if isinstance(value, str)]
        if sum(map(is_transcript, texts)) * 2 > len(texts):
            return True
    return False


def find_columns(name: str, entry: Dataset, first: FirstRows) -> dict[str, str]:
    """From the format's name of each column to the dataset's. Raises InputError where one that the
    format needs is missing, or holds nothing of the right type in these rows.
    """
    wanted = format_columns(name, entry, first)
    nested = ITEMS.keys() if name in LISTS else set()
    if unknown := sorted(entry.columns.keys() - wanted.keys() - nested):
        raise InputError(
            f"The format {name} of {entry.source} has no column {unknown[0]} (there are: "
            f"{', '.join(wanted)}): correct `columns` in its entry of params.yaml."
        )
    found, missing = match(name, entry, first)
    if missing == ["prompt"] and {"chosen", "rejected"} <= found.keys():
        raise InputError(
            f"{entry.source} has no column prompt (there are: {listed(first.names)}), and its "
            f"answers are texts in which no turns are marked: name the prompt's column as "
            f"`columns: {{prompt: ...}}` in its entry of params.yaml, or, if each text begins with "
            f"the prompt, part them, for example into \\n\\nHuman: and \\n\\nAssistant: turns."
        )
    if missing:
        raise InputError(
            f"{entry.source} has no column {' and no column '.join(missing)} (there are: "
            f"{listed(first.names)}): map `columns` in its entry of params.yaml, or choose "
            f"other data."
        )
    for ours, theirs in found.items():
        _check_type(entry.source, theirs, wanted[ours], first)
    if "response_1" in found:
        _check_two(entry, found, first)
    # A column that none of these rows has may still come in a later one.
    there = {*first.names, *found.values()}
    optional = {
        ours: column.names[0]
        for ours, column in wanted.items()
        if not column.required and not {ours, column.names[0]} & there
    }
    if hold_prompts(found, first) or found.get("prompt") not in BESIDE_INPUT:
        optional.pop("input", None)
    return optional | found


def _check_type(source: str, theirs: str, column: Column, first: FirstRows) -> None:
    values = first.values(theirs)
    if values and not any(map(column.fits, values)):
        raise InputError(
            f"The column {theirs} of {source} holds {type(values[0]).__name__} and not "
            f"{column.holds}: map another one by `columns` in its entry of params.yaml, or convert "
            f"the data."
        )


def _check_two(entry: Dataset, found: dict[str, str], first: FirstRows) -> None:
    """Raise InputError where a third answer stands beside two: it would be lost."""
    one, two = found["response_1"], found["response_2"]
    for marks in MARKS:
        if one.endswith(marks[0]) and two == one[:-1] + marks[1]:
            others = "0123456789" if marks[0].isdigit() else ascii_letters
            third = [one[:-1] + mark for mark in others if first.has(one[:-1] + mark)]
            if len(third) > 2:
                raise InputError(
                    f"{entry.source} has more than two answers side by side "
                    f"({', '.join(third)}): put the answers of a row into one list and their "
                    f"scores into another (format scored-lists)."
                )


def unread(first: FirstRows, columns: dict[str, str]) -> list[str]:
    """The columns of these rows that hold texts or messages and are not read."""
    read = {name for theirs in columns.values() for name in (theirs, theirs.split(".")[0])}
    return [name for name in first.names if name not in read and _holds_text(name, first)]


def _holds_text(name: str, first: FirstRows) -> bool:
    for value in first.values(name):
        if isinstance(value, list | dict) and value:
            value = next(iter(value.values() if isinstance(value, dict) else value))
        if isinstance(value, dict):
            value = next(iter(value.values()), None)
        if isinstance(value, str) and value.strip():
            return True
    return False
