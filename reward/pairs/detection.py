"""The format of a dataset and the columns that it reads, found by the first rows."""

from string import ascii_letters

from reward.harness.errors import InputError
from reward.pairs.columns import COLUMNS, ITEMS, MARKS, Column
from reward.pairs.first_rows import FirstRows, listed
from reward.pairs.labels import Labels
from reward.pairs.matching import (
    beside,
    find_branches,
    find_items,
    format_columns,
    hold_prompts,
    match,
    nested_scores,
)
from reward.pairs.nested import plain_spelling, spread, value_at
from reward.pairs.preference import is_number, to_float
from reward.pairs.transcripts import conversation_messages, is_transcript
from reward.sources.catalogue import Dataset

ORDER = (
    *(
        "pairs",
        "strength",
        "scored-lists",
        "labels",
        "scores",
        "ranked-lists",
        "trees",
        "branches",
        "ratings",
    ),
)
"""The formats in the order in which they are tried: a set with chosen and rejected answers may well
have lists of scores beside them."""

LISTS = ("scored-lists", "ranked-lists")
NAMED_BY_VALUES = (*LISTS, "branches")
"""The formats that columns of any other content than theirs do not make."""
MOST_NAME = 100  # characters of a model's name


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
            if missing or (name == "pairs" and _name_answers(found, entry, first)):
                continue
            if name == "strength" and _is_said_otherwise(entry, found, first):
                continue  # the number beside a label is how much better, and has no sign
            if _fit(name, entry, found, first) if fits_too else name not in NAMED_BY_VALUES:
                return "transcripts" if name == "pairs" and _are_spoken(found, first) else name
    columns = first.names
    found, missing = match("pairs", entry, first)
    if missing == ["prompt"] and _are_dialogues(found, first):
        return "transcripts"
    if {"chosen", "rejected"} & {*map(plain_spelling, columns), *entry.columns}:
        return "pairs"
    found, missing = match("scored-lists", entry, first)
    if not missing:
        if nested := nested_scores(found, first):
            raise InputError(
                f"The items of {found['responses']} in {entry.source} have several scores "
                f"({listed(nested)}): name the one that counts as `columns: {{score: ...}}` in its "
                f"entry of params.yaml."
            )
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
    if name == "branches":
        return bool(find_branches(entry, found, first))
    if name == "ranked-lists":  # that the first answer is the best, only few names say
        return found["responses"] in wanted["responses"].names
    return True


def _name_answers(found: dict[str, str], entry: Dataset, first: FirstRows) -> bool:
    """Whether the columns of both sides have no answers but labels, or names of models, of two
    other columns. Raises InputError where they have what a third column has beside two answers.
    """
    labelled, _ = match("labels", entry, first)
    sides = [found[side] for side in ("chosen", "rejected")]
    if "response_1" not in labelled or "response_2" not in labelled or "chosen" in entry.columns:
        return False
    two = [labelled["response_1"], labelled["response_2"]]
    if {*two} & {*sides}:
        return False
    labels = Labels(two[0], two[1], sides[0], entry.labels)
    named = [labelled[name] for name in ("model_1", "model_2") if name in labelled]
    rows = [row for row in first.rows if row.get(sides[0]) is not None]
    models = [[row.get(name) for name in named] for row in rows]
    chosen = [row[sides[0]] for row in rows]
    if not all(isinstance(value, str | int) for value in chosen):
        return False
    if rows and all(map(labels.winner_of, chosen, models)):
        return True
    others = [name for name in first.names if name not in (*two, *sides)]
    copied = [
        any(row.get(name) == value for name in others)
        and not any(_ends_in(value_at(row, one), value) for one in two)
        for row, value in zip(rows, chosen, strict=True)
    ]
    if rows and all(copied) and len(chosen[0]) <= MOST_NAME and "prompt" in found:
        raise InputError(
            f"The columns {' and '.join(sides)} of {entry.source} hold names and not answers "
            f"({chosen[0]}), beside the answers in {' and '.join(two)}: say which columns name the "
            f"models as `columns: {{label: {sides[0]}, model_1: ..., model_2: ...}}` in its entry "
            f"of params.yaml, with `format: labels`."
        )
    return False


def _ends_in(value: object, text: object) -> bool:
    """Whether an answer is a text, or a conversation that ends in it."""
    last = value[-1] if isinstance(value, list) and value else value
    return text in (last, *last.values()) if isinstance(last, dict) else text == last


def _is_said_otherwise(entry: Dataset, strength: dict[str, str], first: FirstRows) -> bool:
    """Whether labels say which of two answers is better, or scores do and the strength has no sign
    in these rows.
    """
    if "strength" in entry.columns:
        return False
    numbers = [number for number in first.values(strength["strength"]) if is_number(number)]
    has_sign = any(to_float(number) < 0 for number in numbers)
    for name in ("labels",) if has_sign else ("labels", "scored-lists", "scores"):
        found, missing = match(name, entry, first)
        if missing or not _fit(name, entry, found, first):
            continue
        if name != "labels" or "label" not in found:
            return True
        labels = Labels(found["response_1"], found["response_2"], found["label"], entry.labels)
        try:
            labels.check(entry.source, first.values(found["label"]))
        except InputError:
            continue
        return True
    return False


def _are_dialogues(found: dict[str, str], first: FirstRows) -> bool:
    """Whether most texts of both sides are conversations (reward.pairs.transcripts)."""
    for side in ("chosen", "rejected"):
        texts = [text for text in first.values(found[side]) if isinstance(text, str)]
        if sum(conversation_messages(text) is not None for text in texts) * 2 <= len(texts):
            return False
    return True


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
    nested = ITEMS.keys() if name in NAMED_BY_VALUES else set()
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
    if hold_prompts(found, first) or "input" not in beside(found):
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
    read = {
        name
        for theirs in columns.values()
        for name in (*spread(theirs, first.names), theirs.split(".")[0])
    }
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
