"""How the rows of a dataset say which answer is better: as its entry says, or by their columns."""

from reward.harness.errors import InputError
from reward.pairs.columns import is_lower_better
from reward.pairs.first_rows import FirstRows
from reward.pairs.labels import Labels
from reward.pairs.matching import attributes, find_items
from reward.pairs.nested import value_at
from reward.pairs.reading import Reading
from reward.sources.catalogue import Dataset

Found = tuple[Reading, str]


def find_reading(name: str, entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    """How the rows of the format `name` are read, and the same in words.

    columns: from the format's names to the dataset's. first: the first rows.
    Raises InputError where the entry says it in a way that the format has not, or where labels do
    not say it.
    """
    _check(name, entry)
    match name:
        case "strength":
            return _by_strength(entry, columns)
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


def _by_strength(entry: Dataset, columns: dict[str, str]) -> Found:
    # HelpSteer's numbers are negative where the first is better.
    lower = entry.better != "higher"
    first, second = columns["response_1"], columns["response_2"]
    low, high = (first, second) if lower else (second, first)
    number = columns["strength"]
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
    own = [value for value, names in values if value is not None and value not in names]
    if own or not first.values(label):
        labels.check(entry.source, own)
        return Reading(lower, labels=labels), labels.describe(own)
    return Reading(lower, labels=labels), f"{label} names the model of the better answer"


def _by_list(name: str, entry: Dataset, columns: dict[str, str], first: FirstRows) -> Found:
    items = find_items(entry, columns, first)
    which = entry.comparisons or "best-worst"
    if name == "ranked-lists":
        is_last = entry.better == "last"
        reading = Reading(is_last, True, items=items, comparisons=which)
        return reading, f"the {('first', 'last')[is_last]} of the list {columns['responses']}"
    scores = columns.get("scores", "")
    score = scores if scores and first.values(scores) else items.get("score", "score")
    lower = _is_lower(entry, score)
    reading = Reading(lower, items=items, comparisons=which)
    return reading, f"the one with the {_more(lower)} {score}"
