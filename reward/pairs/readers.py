"""How a row that has its two sides in columns becomes a pair, or several.

The row's columns have the names that the format gives them (reward.pairs.formats), whatever the
dataset calls them.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from reward.pairs.answers import (
    MOST_PAIRS,
    Answer,
    after_prompt,
    compare,
    is_turn_list,
    paired,
    read_answers,
    read_exchange,
    up_to_turn,
)
from reward.pairs.labels import FIRST, winner_of_flags
from reward.pairs.preference import Message, Preference, UnusableError, rating
from reward.pairs.prompts import read_prompt, with_system
from reward.pairs.reading import Reading
from reward.pairs.rows import Row
from reward.pairs.transcripts import conversation_messages, is_transcript


def read_pairs(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pairs of a row of the format pairs. Raises UnusableError where it has none.

    Where a side has several answers, each chosen one is compared with each rejected one; the chosen
    ones are then rated 1 and the others 0, unless the row rates them: rated answers to one prompt
    are computed together (reward.pairs.groups). Where the row has a share that prefers chosen, that
    share and its rest are the two ratings, and chosen is what more of them prefer.
    """
    every_chosen, every_rejected = read_sides(row, "chosen", "rejected")
    texts = [{answer.text for answer in side} for side in (every_chosen, every_rejected)]
    if len(every_chosen) * len(every_rejected) > 1 and texts[0] & texts[1]:
        # A conversation as a list of texts begins alike on both sides, several answers do not.
        raise UnusableError("texts_without_roles", "chosen", row.get("chosen"))
    if len(every_chosen) * len(every_rejected) > MOST_PAIRS:
        raise UnusableError("too_many_answers", "rejected", len(every_rejected))
    ratings = side_ratings(row, reading)
    if ratings == (None, None) and max(len(every_chosen), len(every_rejected)) > 1:
        ratings = 1.0, 0.0
    share = rating(row.get("chosen_share"), "chosen_share")
    if share is not None:
        if not 0 <= share <= 1:
            raise UnusableError("share_not_between_0_and_1", "chosen_share", share)
        ratings = share, round(1 - share, 9)
    for (i, chosen), (j, rejected) in product(enumerate(every_chosen), enumerate(every_rejected)):
        if share is not None and share < 0.5:
            pair, places = paired(rejected, chosen, *reversed(ratings)), (j, i)
        else:
            pair, places = paired(chosen, rejected, *ratings), (i, j)
        yield pair if isinstance(pair, UnusableError) else replace(pair, places=places)


def read_transcripts(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pairs of a row of the format transcripts: without a prompt, each side is a transcript."""
    sides: Row = {}
    for column in ("chosen", "rejected"):
        text = row.get(column)
        if "prompt" in row or not isinstance(text, str):
            continue
        if is_transcript(text) and "\n\nAssistant:" in text:
            continue  # as reward.pairs.conversation reads it wherever it stands
        messages = conversation_messages(text)
        if messages is None and not is_transcript(text):
            raise UnusableError("not_a_transcript", column, text)
        sides[column] = messages or text
    yield from read_pairs(row | sides, reading)


def read_pair(row: Row) -> Preference:
    """The only pair of a row of the format pairs. Raises UnusableError where there is none, and
    where a side has several answers or the two were not said after the same turns: one question is
    asked of both.
    """
    outcomes = [*read_pairs(row, Reading())]
    if len(outcomes) > 1:
        raise UnusableError("several_answers")
    if isinstance(outcomes[0], UnusableError):
        raise outcomes[0]
    if outcomes[0].earlier_turns_differ:
        raise UnusableError("prompts_differ")
    return outcomes[0]


def read_sides(row: Row, first: str, second: str) -> tuple[list[Answer], list[Answer]]:
    """The answers in two columns, each after all that was said before it.

    Where one side alone holds the conversation, it is the other side's as well; turns by which a
    side goes on from the prompt, as in calls of tools, are its own.
    Raises UnusableError where a column holds no answer.
    """
    columns = (first, second)
    asked = row.get("prompt")
    if is_turn_list(asked) and any(is_turn_list(row.get(column)) for column in columns):
        found = [[read_exchange(asked, row.get(column), column)] for column in columns]
        prompt: list[Message] = []
    else:
        found = [read_answers(row.get(column), column) for column in columns]
        prompt = read_prompt(row)
        if _ends_in_answer(prompt, found):
            prompt = prompt[:-1]
    sides = [
        [after_prompt(answer, prompt, column) for answer in answers]
        for answers, column in zip(found, columns, strict=True)
    ]
    for own, other in ((0, 1), (1, 0)):
        held = found[other][0].turns
        goes_on = bool(prompt and held and held[0].role == "assistant")
        if held and not goes_on and not any(answer.turns for answer in found[own]):
            turns = sides[other][0].turns
            sides[own] = [Answer(turns, answer.text) for answer in sides[own]]
    if row.get("system"):
        sides = [
            [Answer(with_system(row, answer.turns), answer.text) for answer in answers]
            for answers in sides
        ]
    return sides[0], sides[1]


def _ends_in_answer(prompt: list[Message], sides: list[list[Answer]]) -> bool:
    """Whether the conversation in the prompt's column goes on with one of the answers."""
    if len(prompt) < 2 or prompt[-1].role != "assistant":
        return False
    last = prompt[-1].content.strip()
    return any(
        answer.text.strip() == last and not answer.turns for side in sides for answer in side
    )


def side_ratings(row: Row, reading: Reading) -> tuple[float | None, float | None]:
    """Both ratings of a row of the format pairs. A margin is the gap of two: rejected gets 0."""
    chosen, rejected = (reading.worth_of(row, f"{side}_rating") for side in ("chosen", "rejected"))
    margin = rating(row.get("margin"), "margin")
    if chosen is None and rejected is None and margin is not None:
        return margin, 0.0
    return chosen, rejected


def read_two(row: Row) -> tuple[Answer, Answer]:
    """Both answers of a row that has them side by side, up to the turn that was judged."""
    (first, *more), (second, *others) = read_sides(row, "response_1", "response_2")
    if more or others:
        raise UnusableError("several_answers", "response_1" if more else "response_2")
    turn = rating(row.get("turn"), "turn")
    if turn is None:
        return first, second
    return up_to_turn(first, turn), up_to_turn(second, turn)


def read_strength(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pair of a row of the format strength; the better response is rated by the size of the
    number and the other one by 0, so that the gap of the ratings is the strength.
    """
    strength = reading.worth(row.get("strength"), "strength")  # positive for the first
    first, second = read_two(row)
    if strength == 0:
        raise UnusableError("tie")
    better, worse = (first, second) if strength > 0 else (second, first)
    yield compare(better, worse, abs(strength), 0.0)


def read_label(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pair of a row of the format labels."""
    first, second = read_two(row)
    if reading.labels is None:
        column, label = "wins_1", row.get("wins_1")
        winner = winner_of_flags(label, row.get("wins_2"))
    else:
        column, label = "label", row.get("label")
        winner = reading.labels.winner_of(label, (row.get("model_1"), row.get("model_2")))
    if winner is None:
        missing = label is None or label == ""
        raise UnusableError("missing_label" if missing else "unknown_label", column, label)
    if winner == "tie":
        raise UnusableError("tie")
    ratings = [reading.worth_of(row, column) for column in ("score_1", "score_2")]
    if winner == FIRST:
        yield compare(first, second, *ratings)
    else:
        yield compare(second, first, *reversed(ratings))


def read_scores(row: Row, reading: Reading) -> Iterator[Preference | UnusableError]:
    """The pair of a row of the format scores."""
    first, second = read_two(row)
    one, two = (reading.worth(row.get(column), column) for column in ("score_1", "score_2"))
    if one == two:
        raise UnusableError("tie")
    pair = compare(first, second, one, two)
    yield pair if one > two else compare(second, first, two, one)
