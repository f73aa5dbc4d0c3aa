"""How the rows of a dataset say which answer is better: as its entry says, or by their columns."""

from reward.harness.errors import InputError
from reward.pairs.columns import COLUMNS, is_lower_better
from reward.pairs.first_rows import FirstRows
from reward.pairs.labels import Labels, votes_of
from reward.pairs.matching import attributes, find_branches, find_items
from reward.pairs.nested import as_list, plain_spelling, value_at
from reward.pairs.preference import is_number, to_float
from reward.pairs.reading import Reading
from reward.sources.catalogue import Dataset

Found = tuple[Reading, str]

MANY = 4
"""Numbers that hardly all have one sign where the sign says which of two answers is better."""
MOST_STRENGTH = 3
"""On HelpSteer's scale; more is of a scale that begins at 0 or 1."""
ORDERS = ("ranking", "rankings")
"""Columns that may hold ranks, and may hold an order."""


def find_reading(name: str, entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    """How the rows of the format `name` are read, and the same in words.

    columns: from the format's names to the dataset's. first: the first rows.
    Raises InputError where the entry says it in a way that the format has not, or where labels do
    not say it.
    """
    _check(name, entry)
    match name:
        case "strength":
            return _by_strength(entry, columns, first)
        case "labels":
            return _by_labels(entry, columns, first)
        case "scores":
            one, two = columns["score_1"], columns["score_2"]
            lower = _is_lower(entry, one)
            return Reading(lower), f"the one with the {_more(lower)} of {one} and {two}"
        case "scored-lists" | "ranked-lists":
            return _by_list(name, entry, columns, first)
        case "ratings":
            weights = attributes(entry, first)
            lower = _is_lower(entry, *weights) if len(weights) == 1 else _is_lower(entry)
            mean = "mean of " if len(weights) > 1 else ""
            reading = Reading(lower, attributes=weights, comparisons=entry.comparisons or "all")
            return reading, f"the one with the {_more(lower)} {mean}{', '.join(weights)}"
        case "branches":
            score = find_branches(entry, columns, first) or "score"
            lower = _is_lower(entry, score)
            which = entry.comparisons or "best-worst"
            reading = Reading(lower, items={"score": score}, comparisons=which)
            return reading, f"of several answers to a turn the one with the {_more(lower)} {score}"
        case "trees":
            lower = _is_lower(entry, columns["rank"])
            reading = Reading(lower, comparisons=entry.comparisons or "all")
            return reading, f"the reply with the {_more(lower)} {columns['rank']}"
    reading = Reading(_is_lower(entry, columns.get("chosen_rating", "")))
    return reading, f"{columns['chosen']} rather than {columns['rejected']}"


def _check(name: str, entry: Dataset) -> None:
    allowed = ("first", "last") if name == "ranked-lists" else ("higher", "lower")
    if entry.better is not None and entry.better not in allowed:
        raise InputError(
            f"better={entry.better} of {entry.source} says nothing in the format {name}: write "
            f"{' or '.join(allowed)}."
        )
    if entry.labels is not None and name != "labels":
        raise InputError(
            f"{entry.source} has `labels`, which the format {name} does not read: remove them, or "
            f"write `format: labels` in its entry of params.yaml."
        )


def _is_lower(entry: Dataset, *columns: str) -> bool:
    """Whether lower numbers are better: as the entry says, else by the column's name."""
    if entry.better is not None:
        return entry.better == "lower"
    return any(map(is_lower_better, columns))


def _more(lower: bool) -> str:
    return "lower" if lower else "higher"


def _by_strength(entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    # HelpSteer's numbers are negative where the first is better.
    lower = entry.better != "higher"
    one, two = columns["response_1"], columns["response_2"]
    low, high = (one, two) if lower else (two, one)
    number = columns["strength"]
    values = [to_float(value) for value in first.values(number) if is_number(value)]
    one_sign = not any(value < 0 for value in values)
    if (
        entry.better is None
        and one_sign
        and (len(values) >= MANY or max(values, default=0) > MOST_STRENGTH)
    ):
        raise InputError(
            f"The column {number} of {entry.source} has no negative number among its first "
            f"{len(values):,} ({min(values):g} to {max(values):g}), so its sign does not say which "
            f"answer is better: if it is a scale with its middle elsewhere, say by `format: "
            f"labels`, `columns: {{label: {number}}}` and `labels` what each number means; if "
            f"positive ones speak for {two}, write `better: lower`."
        )
    return Reading(lower), f"{low} where {number} is negative, {high} where it is positive"


def _by_labels(entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    lower = _is_lower(entry, columns.get("score_1", ""))
    answers = columns["response_1"], columns["response_2"]
    if {"wins_1", "wins_2"} <= columns.keys() and first.has(columns["wins_1"]):
        flags = columns["wins_1"], columns["wins_2"]
        said = (f"{answer} where {flag} is 1" for answer, flag in zip(answers, flags, strict=True))
        return Reading(lower), ", ".join(said)
    label = columns["label"]
    labels = Labels(*answers, label, entry.labels)
    models = [columns.get(name, name) for name in ("model_1", "model_2")]
    values = [(value_at(row, label), [row.get(name) for name in models]) for row in first.rows]
    own = [vote for value, names in values for vote in votes_of([value]) if vote not in names]
    if own or not first.values(label):
        labels.check(entry.source, own)
        if "label" not in entry.columns:
            _check_others(entry, labels, first)
        return Reading(lower, labels=labels), labels.describe(own)
    return Reading(lower, labels=labels), f"{label} names the model of the better answer"


def _check_others(entry: Dataset, labels: Labels, first: FirstRows) -> None:
    """Raise InputError where a second column of labels names other answers."""
    for name in map(first.called, COLUMNS["labels"]["label"].names):
        others = Labels(labels.first, labels.second, name, entry.labels)
        both = [
            (labels.winner_of(row[labels.column], ()), others.winner_of(row[name], ()))
            for row in first.rows
            if row.get(labels.column) is not None and row.get(name) is not None
        ]
        if both and all(None not in one for one in both) and any(a != b for a, b in both):
            raise InputError(
                f"The columns {labels.column} and {name} of {entry.source} both name answers, and "
                f"not the same ones: name the one that counts as `columns: {{label: ...}}` in its "
                f"entry of params.yaml."
            )


def _check_order(source: str, column: str, first: FirstRows) -> None:
    """Raise InputError where a ranking may be the answers' ranks or their order."""
    for value in first.values(column):
        numbers = as_list(value) or []
        if len(numbers) < 3 or not all(isinstance(number, int) for number in numbers):
            continue
        lowest = min(numbers)
        places = [number - lowest for number in numbers]
        if sorted(places) != [*range(len(places))]:
            continue  # equal ranks, or some are left out: no order
        if any(places[place] != index for index, place in enumerate(places)):
            raise InputError(
                f"The column {column} of {source} ({numbers}) may hold the rank of each answer, "
                f"or the answers' numbers with the best one first: write `better: lower` in its "
                f"entry of params.yaml if these are ranks, else put the answers themselves in that "
                f"order (format ranked-lists)."
            )


def _by_list(name: str, entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    items = find_items(entry, columns, first)
    which = entry.comparisons or "best-worst"
    if name == "ranked-lists":
        is_last = entry.better == "last"
        reading = Reading(is_last, True, items=items, comparisons=which)
        return reading, f"the {('first', 'last')[is_last]} of the list {columns['responses']}"
    scores = columns.get("scores", "")
    score = scores if scores and first.values(scores) else items.get("score", "score")
    if entry.better is None and score == scores and plain_spelling(score) in ORDERS:
        _check_order(entry.source, score, first)
    lower = _is_lower(entry, score)
    reading = Reading(lower, items=items, comparisons=which)
    return reading, f"the one with the {_more(lower)} {score}"
