"""The accuracies of two runs side by side: on datasets of a mix, test sets and their subsets."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from dvc_data.index import DataIndexError

from reward.evaluation.revisions import open_revision
from reward.harness.errors import InputError, first_line, printable

VALIDATION = "validation pairs"
SHOWN_LETTERS = 40  # of a set's and a subset's name


class Accuracy(NamedTuple):
    """One figure of a run."""

    value: float
    size: int
    """On how many pairs it rests; of best of n and of scores, on how many prompts."""


def read_sets(rev_a: str, rev_b: str, scores: str) -> list[dict[str, Any]]:
    """`side_by_side` of two revisions of the project in the current folder, of which each has the
    file `scores`; empty where one of them has no details.json beside it.

    Raises InputError where that is in neither the cache nor a remote, or damaged.
    """
    a, b = (_read_details(rev, scores) for rev in (rev_a, rev_b))
    return side_by_side(a, b) if a and b else []


def _read_details(rev: str, scores: str) -> dict[str, Any]:
    path = str(PurePosixPath(scores).with_name("details.json"))
    files = open_revision(rev)
    try:
        return json.loads(files.cat_file(path)) if files.exists(path) else {}
    except (DataIndexError, OSError, ValueError) as error:
        raise InputError(
            f"{path} of {rev} cannot be read ({first_line(error)}): run `dvc pull`, or "
            f"`dvc repro --force evaluate` there."
        ) from None


def accuracies(details: Mapping[str, Any]) -> dict[tuple[str, str], Accuracy]:
    """Those of data/scores/details.json by set and part; the part of a whole set is empty.

    The validation pairs are there only where they have parts.
    """
    found: dict[tuple[str, str], Accuracy] = {}
    for name, measured in {VALIDATION: details["measured"], **details["testsets"]}.items():
        parts = dict(_of_parts(name, measured))
        if parts or name != VALIDATION:
            found[name, ""] = Accuracy(measured["accuracy"], measured["pairs"])
            found |= parts
    return found


def _of_parts(name: str, measured: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Accuracy]]:
    if benchmark := measured.get("benchmark"):
        prompts = sum(section["prompts"] for section in benchmark["sections"].values())
        yield (name, "score"), Accuracy(benchmark["score"], prompts)
    if best := measured.get("best_of_n"):
        yield (name, "best of n"), Accuracy(best["accuracy"], best["prompts"])
    for kind, singular in (("datasets", "dataset"), ("subsets", "subset")):
        for part, found in measured.get(kind, {}).items():
            yield (name, f"{singular} {part}"), Accuracy(found["accuracy"], found["pairs"])


def side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each figure of either run's details.json with both values and what B has more than A; None
    where a run does not have it.
    """
    one, other = accuracies(a), accuracies(b)
    rows = []
    both = {**one, **other}
    sets = [*dict.fromkeys(name for name, _ in both)]  # what B alone has stands with its set
    for name, part in sorted(both, key=lambda key: sets.index(key[0])):
        first, second = one.get((name, part)), other.get((name, part))
        rows.append(
            {
                "set": name,
                "part": part or None,
                "count_a": first and first.size,
                "count_b": second and second.size,
                "accuracy_a": first and first.value,
                "accuracy_b": second and second.value,
                "difference": second.value - first.value if first and second else None,
            }
        )
    return rows


def describe_sets(rows: list[dict[str, Any]], rev_a: str, rev_b: str) -> list[str]:
    """The rows of `side_by_side` as lines for a terminal, the first of them blank; none of none."""
    if not rows:
        return []
    table = [("accuracy on", rev_a, rev_b, "difference", "pairs or prompts")]
    for row in rows:
        counts = [row[key] for key in ("count_a", "count_b") if row[key] is not None]
        table.append(
            (
                _label(row["set"]) if row["part"] is None else f"  {_label(row['part'])}",
                _number(row["accuracy_a"], ".4f"),
                _number(row["accuracy_b"], ".4f"),
                _number(row["difference"], "+.4f"),
                " and ".join(f"{count:,}" for count in dict.fromkeys(counts)),
            )
        )
    widths = [max(len(cells[column]) for cells in table) for column in range(5)]
    return [""] + [
        f"{cells[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))
        for cells in table
    ]


def _label(text: str) -> str:
    return printable(text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}...")


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
