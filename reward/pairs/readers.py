"""How a row of each format (reward.pairs.formats) becomes pairs.

The row's columns have the names that the format gives them, whatever the dataset calls them.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from reward.pairs.conversation import is_transcript, read_turns, same_turns, transcript_messages
from reward.pairs.preference import Message, Preference, UnusableError, rating
from reward.pairs.responses import Response
from reward.pairs.rows import Row
from reward.sources.catalogue import Dataset

# The columns of a scored list's items, and their names in known sets.
ITEMS = {"response": ("response", "text", "content"), "score": ("overall_score", "score", "rating")}


class Candidate(NamedTuple):
    """What a row gave: a pair, or the reason why there is none."""

    row: int
    """Its number (reward.pairs.rows); of a pair out of two rows, the chosen response's."""
    outcome: Preference | str


def read_pair(row: Row) -> Preference:
    """The preference of a row of the format pairs. Raises UnusableError where it has none.

    Where the row has a share that prefers chosen, that share and its rest are the two ratings, and
    chosen is what more of them prefer.
    """
    chosen_turns, chosen = _side(row, "chosen")
    rejected_turns, rejected = _side(row, "rejected")
    if chosen_turns and rejected_turns and not same_turns(chosen_turns, rejected_turns):
        raise UnusableError("prompts_differ")
    turns = chosen_turns or rejected_turns
    if "prompt" in row:
        prompt = read_turns(row["prompt"], "prompt")
        # The sides may hold more of the conversation than the prompt does, e.g. the system turn.
        if turns and not same_turns(turns[-len(prompt) :], prompt):
            raise UnusableError("prompts_differ")
        turns = turns or prompt
    ratings = rating(row.get("chosen_rating")), rating(row.get("rejected_rating"))
    share = rating(row.get("chosen_share"))
    if share is None:
        return Preference(tuple(turns), chosen, rejected, *ratings)
    if not 0 <= share <= 1:
        raise UnusableError("share_not_between_0_and_1")
    pair = Preference(tuple(turns), chosen, rejected, share, round(1 - share, 9))
    return pair.swapped() if share < 0.5 else pair


def _side(row: Row, column: str) -> tuple[list[Message], str]:
    if isinstance(row.get(column), str):
        return [], row[column]
    *turns, answer = read_turns(row.get(column), column)
    if answer.role != "assistant":
        raise UnusableError("no_response")
    return turns, answer.content


def read_transcript(row: Row) -> Preference:
    """The preference of a row of the format transcripts."""
    parsed = dict(row)
    for column in ("chosen", "rejected"):
        if isinstance(value := row.get(column), str) and (
            "prompt" not in row or is_transcript(value)
        ):
            parsed[column] = transcript_messages(value)
    if "prompt" in row:
        parsed["prompt"] = spoken(row["prompt"])
    return read_pair(parsed)


def spoken(prompt: Any) -> Any:
    """A prompt's messages where it is a transcript, else the prompt as it is."""
    if not isinstance(prompt, str) or not is_transcript(prompt):
        return prompt
    messages = transcript_messages(prompt)
    if messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()  # it asks for the answer
    return messages


def read_strength(row: Row) -> Preference:
    """The preference of a row of the format strength; the better response is rated by the size of
    the number and the other one by 0, so that the gap of the ratings is the strength.
    """
    prompt = read_turns(row.get("prompt"), "prompt")
    strength = rating(row.get("strength"))
    if strength is None:
        raise UnusableError("missing_rating")
    if strength == 0:
        raise UnusableError("tie")
    first, second = read_text(row, "response_1"), read_text(row, "response_2")
    better, worse = (first, second) if strength < 0 else (second, first)
    return Preference(tuple(prompt), better, worse, abs(strength), 0.0)


def read_scored_list(row: Row, entry: Dataset) -> Iterator[Preference | str]:
    """The pairs of a row of the format scored-lists."""
    prompt = read_turns(row.get("prompt"), "prompt")
    items = row.get("responses")
    if not items or not isinstance(items, list):
        raise UnusableError("wrong_type" if items else "missing_response")
    scores = row.get("scores")
    if scores is not None:
        if not isinstance(scores, list) or len(scores) != len(items):
            raise UnusableError("scores_and_responses_differ")
        items = [
            {"response": item, "score": score} for item, score in zip(items, scores, strict=True)
        ]
    group = []
    for item in items:
        try:
            group.append(_scored(item, prompt, entry))
        except UnusableError as problem:
            yield problem.reason
    yield from (
        candidate.outcome for candidate in comparisons(group, entry.comparisons or "best-worst")
    )


def _scored(item: Any, prompt: list[Message], entry: Dataset) -> Response:
    if not isinstance(item, dict):
        raise UnusableError("wrong_type")
    found = {}
    for ours, known in ITEMS.items():
        names = (entry.columns[ours],) if ours in entry.columns else known
        found[ours] = next((item[name] for name in names if item.get(name) is not None), None)
    score = rating(found["score"])
    if score is None:
        raise UnusableError("missing_rating")
    return Response(0, prompt, read_text(found, "response"), score)


def read_text(row: Row, column: str) -> str:
    """The text in a column. Raises UnusableError where there is none."""
    value = row.get(column)
    if not isinstance(value, str):
        raise UnusableError("missing_response" if value is None else "wrong_type")
    return value


def mean_rating(row: Row, weights: dict[str, float]) -> float:
    """The weighted mean of a response's attributes.

    It is rounded to nine decimals, so that means which are equal by hand are a tie here as well.
    """
    total = 0.0
    for attribute, weight in weights.items():
        value = rating(row.get(attribute))
        if value is None:
            raise UnusableError("missing_rating")
        total += weight * value
    mean = rating(round(total / sum(weights.values()), 9))
    if mean is None:  # infinities of both signs, of weights beyond all measure
        raise UnusableError("rating_too_large")
    return mean


def comparisons(group: Sequence[Response], which: str) -> Iterator[Candidate]:
    """The pairs of the responses to one prompt: best against worst, or all that are no tie."""
    if len(group) < 2:
        yield from (Candidate(response.row, "single_response") for response in group)
        return
    ranked = sorted(group, key=lambda response: (-response.rating, response.text))
    for one, other in (
        [(ranked[0], ranked[-1])] if which == "best-worst" else combinations(ranked, 2)
    ):
        pair = Preference(tuple(one.prompt), one.text, other.text, one.rating, other.rating)
        yield Candidate(one.row, "tie" if one.rating == other.rating else pair)
