"""How several answers to one prompt, scored or ranked, become pairs."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from reward.pairs.answers import Answer, after_prompt, paired, read_one_answer
from reward.pairs.nested import as_list, value_at
from reward.pairs.preference import Message, Preference, UnusableError, rating, yes_or_no
from reward.pairs.prompts import read_prompt, with_system
from reward.pairs.reading import Candidate, Reading
from reward.pairs.responses import Response
from reward.pairs.rows import Row

MOST_ANSWERS = 1000
"""To one prompt, all of which are compared with one another."""


def read_list(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pairs of a row of the formats scored-lists and ranked-lists.

    The answers of a ranked list are rated by their places: -1 for the best, -2 for the next one.
    """
    prompt = read_prompt(row)
    there = row.get("responses")
    items = as_list(there)
    if not items:
        raise UnusableError("wrong_type" if there else "missing_response", "responses", there)
    scores: Any = [None] * len(items)
    if reading.is_ranked:
        places = range(-1, -len(items) - 1, -1)
        scores = [*(reversed(places) if reading.is_lower_better else places)]
    elif row.get("scores") is not None:
        scores = as_list(row["scores"])
        if scores is None or len(scores) != len(items):
            raise UnusableError("scores_and_responses_differ", "scores", row["scores"])
    group = []
    for item, score in zip(items, scores, strict=True):
        try:
            group.append(_rated(item, score, prompt, row, reading))
        except UnusableError as problem:
            yield problem
    yield from (candidate.outcome for candidate in comparisons(group, reading.comparisons))


def _rated(item: Any, score: Any, prompt: list[Message], row: Row, reading: Reading) -> Response:
    """An item of a list as a response; its score stands in it where none is given."""
    names = reading.items
    if isinstance(item, dict):
        if score is None:
            score = value_at(item, names.get("score", ""))
        item = value_at(item, names["response"]) if "response" in names else item
    elif not isinstance(item, str | list):
        reason = "missing_response" if item is None else "wrong_type"
        raise UnusableError(reason, "responses", item)
    rated = score if reading.is_ranked else reading.worth(_grade(score), "scores")
    answer = after_prompt(read_one_answer(item, "response"), prompt, "response")
    return Response(0, with_system(row, answer.turns), answer.text, float(rated))


def _grade(value: Any) -> Any:
    """A number for yes or no, as thumbs up or down; anything else as it is."""
    grade = yes_or_no(value)
    return int(grade) if isinstance(grade, bool) else value


def mean_rating(row: Row, reading: Reading) -> float:
    """The weighted mean of a response's attributes.

    It is rounded to nine decimals, so that means which are equal by hand are a tie here as well.
    """
    total = 0.0
    for attribute, weight in reading.attributes.items():
        total += weight * reading.worth(_grade(row.get(attribute)), attribute)
    mean = rating(round(total / sum(reading.attributes.values()), 9))
    if mean is None:  # infinities of both signs, of weights beyond all measure
        raise UnusableError("rating_too_large")
    return mean


def comparisons(group: Sequence[Response], which: str) -> Iterator[Candidate]:
    """The pairs of the responses to one prompt: best against worst, or all that are no tie."""
    if len(group) < 2 or (which == "all" and len(group) > MOST_ANSWERS):
        reason = "single_response" if len(group) < 2 else "too_many_answers"
        yield from (Candidate(response.row, UnusableError(reason)) for response in group)
        return
    ranked = sorted(group, key=lambda response: (-response.rating, response.text))
    for one, other in (
        [(ranked[0], ranked[-1])] if which == "best-worst" else combinations(ranked, 2)
    ):
        if one.rating == other.rating:
            yield Candidate(one.row, UnusableError("tie"))
            continue
        better, worse = Answer(one.prompt, one.text), Answer(other.prompt, other.text)
        yield Candidate(one.row, paired(better, worse, one.rating, other.rating))
