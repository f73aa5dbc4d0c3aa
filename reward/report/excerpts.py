"""Pairs worth reading, as a page can show them: chosen by margin, made visible, cut to size.

The texts come from a dataset that nobody vouches for: whatever a reader could not see is spelled
out, and no text, turn or role can outgrow its share of the page.
"""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from markupsafe import escape

from reward.evaluation.scores import Array, Scored
from reward.harness.tables import read_table

MISTAKES, CLOSE, SAMPLE = 40, 30, 30  # pairs of each kind at most
TEXT_BYTES = 4000  # of one answer or one whole prompt, as HTML; about as many Latin letters
TURN_BYTES = 200  # what a turn adds around its text
ROLE_LENGTH = 20
FOLD = 700  # characters of a text that stand outside a fold

# Words are marked that only one of both answers has, unless the two have little in common: below
# this share of words in both, or above so many marks, they would only be in the way.
LEAST_COMMON = 0.2
MOST_MARKS = 100

COLUMNS = ["pair_id", "prompt", "chosen", "rejected", "chosen_rating", "rejected_rating"]
# Joiners shape words and emoji, and lines must end somewhere.
_KEPT = "\n\t\u200c\u200d"
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Letters and marks that are drawn as nothing (Unicode's DerivedCoreProperties.txt, which calls them
# Default_Ignorable_Code_Point); U+FE0E and U+FE0F, which choose between text and emoji, stay.
_IGNORABLE = {
    *(0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE0E),
    *range(0xE0000, 0xE1000),
}
_ESCAPED = {character: len(str(escape(character))) for character in "&<>'\""}


class Excerpt(NamedTuple):
    """A text in up to two pieces: `rest` is folded, `lost` counts the characters cut off."""

    head: str
    rest: str
    lost: int


class Piece(NamedTuple):
    """A part of an answer; `own` where the other answer has no such words there."""

    text: str
    own: bool


class Answer(NamedTuple):
    """An excerpt in pieces."""

    head: list[Piece]
    rest: list[Piece]
    folded: int
    """Characters of `rest`."""
    lost: int


class Turn(NamedTuple):
    role: str
    text: Excerpt


def choose(margin: Array) -> dict[str, Array]:
    """Row numbers of the pairs to show, by kind; no row has two kinds.

    mistake: the most negative margins. close: the smallest absolute margins of the rest. sample:
    pairs spread evenly over the margins of what is left, so that the usual case is seen as well.
    """
    order = np.argsort(margin, kind="stable")
    mistakes = order[margin[order] < 0][:MISTAKES]
    rest = order[len(mistakes) :]
    close = rest[np.argsort(np.abs(margin[rest]), kind="stable")][:CLOSE]
    left = rest[~np.isin(rest, close)]
    steps = np.linspace(0, len(left) - 1, min(SAMPLE, len(left))).round().astype(int)
    return {"mistake": mistakes, "close": close, "sample": left[steps]}


def read_pairs(path: Path, pair_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of a preferences file that have these ids."""
    table = read_table(path, COLUMNS, filters=pc.field("pair_id").isin(pair_ids))
    return {row["pair_id"]: row for row in table.to_pylist()}


def excerpts(scored: Scored, pair_ids: Array, preferences: Path) -> list[dict[str, Any]]:
    """One entry per pair of `choose`, in its order, with what the page's table shows of it.

    pair_ids: shape (pairs,), in the order of `scored`. preferences: the file with the texts.
    """
    rows = [(kind, int(row)) for kind, members in choose(scored.margin).items() for row in members]
    pairs = read_pairs(preferences, [str(pair_ids[row]) for _, row in rows])
    return [
        {"kind": kind, **_numbers(scored, row), **_texts(pairs[str(pair_ids[row])])}
        for kind, row in rows
    ]


def _numbers(scored: Scored, row: int) -> dict[str, Any]:
    gap = float(scored.rating_gap[row])
    return {
        "margin": float(scored.margin[row]),
        "chosen_score": float(scored.chosen[row]),
        "rejected_score": float(scored.rejected[row]),
        "chosen_tokens": int(scored.chosen_tokens[row]),
        "rejected_tokens": int(scored.rejected_tokens[row]),
        "rating_gap": None if np.isnan(gap) else gap,
    }


def _texts(pair: dict[str, Any]) -> dict[str, Any]:
    turns, earlier = last_turns([(turn["role"], turn["content"]) for turn in pair["prompt"]])
    chosen, rejected = answers(pair["chosen"], pair["rejected"])
    return {
        "pair_id": pair["pair_id"],
        "chosen_rating": pair["chosen_rating"],
        "rejected_rating": pair["rejected_rating"],
        "turns": turns,
        "earlier_turns": earlier,
        "preview": " ".join(turns[-1].text.head.split())[:200],
        "chosen": chosen,
        "rejected": rejected,
    }


def last_turns(prompt: list[tuple[str, str]]) -> tuple[list[Turn], int]:
    """The last turns that fit into TEXT_BYTES together, and how many earlier ones do not.

    The last turn is always there, cut if need be: it is what both answers reply to.
    """
    turns: list[Turn] = []
    left = TEXT_BYTES
    for role, content in reversed(prompt):
        if turns and left <= TURN_BYTES:
            break
        text = excerpt(content, left)
        left -= TURN_BYTES + _size(text.head) + _size(text.rest)
        turns.insert(0, Turn(visible(role[:ROLE_LENGTH])[:ROLE_LENGTH], text))
    return turns, len(prompt) - len(turns)


def excerpt(text: str, limit: int) -> Excerpt:
    """The beginning of a text that takes at most `limit` bytes as HTML, folded after FOLD."""
    text = text.replace("\r\n", "\n")
    pieces = [visible(character) for character in text[:limit]]
    end = int(np.searchsorted(np.cumsum([_size(piece) for piece in pieces]), limit, side="right"))
    shown = "".join(pieces[:end])
    return Excerpt(shown[:FOLD], shown[FOLD:], len(text) - end)


def answers(chosen: str, rejected: str) -> tuple[Answer, Answer]:
    """The excerpts of both answers, with the words marked that only one of them has."""
    both = [excerpt(text, TEXT_BYTES) for text in (chosen, rejected)]
    first, second = (_cut(one, own) for one, own in zip(both, own_words(*both), strict=True))
    return first, second


def own_words(one: Excerpt, other: Excerpt) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """From where to where, in each of two excerpts, its words are not the other one's.

    By the longest runs of words in common (difflib). Words that are frequent in a long text begin
    no run, so that texts of one word again and again do not take forever. Both lists are empty
    where little is in common.
    """
    words = [[*re.finditer(r"\S+", text.head + text.rest)] for text in (one, other)]
    first, second = ([word[0] for word in side] for side in words)
    blocks = SequenceMatcher(None, first, second).get_matching_blocks()
    common = sum(block.size for block in blocks)
    if common < LEAST_COMMON * max(1, *map(len, words)) or len(blocks) > MOST_MARKS:
        return [], []
    return (
        _gaps(words[0], [(block.a, block.size) for block in blocks]),
        _gaps(words[1], [(block.b, block.size) for block in blocks]),
    )


def _gaps(words: Sequence[re.Match[str]], runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where the words stand that are in none of the runs (first word, number of words)."""
    spans, at = [], 0
    for start, size in runs:
        if start > at:
            spans.append((words[at].start(), words[start - 1].end()))
        at = start + size
    return spans


def _cut(text: Excerpt, own: Sequence[tuple[int, int]]) -> Answer:
    """An excerpt in pieces, at the ends of the spans that are its own and at the fold."""
    whole, fold = text.head + text.rest, len(text.head)
    edges = sorted({0, fold, len(whole), *(edge for span in own for edge in span)})
    pieces = [
        (start, Piece(whole[start:end], any(a <= start < b for a, b in own)))
        for start, end in pairwise(edges)
    ]
    return Answer(
        head=[piece for start, piece in pieces if start < fold],
        rest=[piece for start, piece in pieces if start >= fold],
        folded=len(text.rest),
        lost=text.lost,
    )


def _size(text: str) -> int:
    """Bytes that a text takes as HTML."""
    return sum(_ESCAPED.get(character) or len(character.encode()) for character in text)


def visible(text: str) -> str:
    """A text with what cannot be seen, or steers the reading, spelled out as ⟨U+202E⟩.

    They can reorder or hide what a reader sees. Tabs, line ends and joiners stay.
    """
    return "".join(
        f"⟨U+{ord(character):04X}⟩" if _is_unseen(character) else character for character in text
    )


def _is_unseen(character: str) -> bool:
    if ord(character) in _IGNORABLE:
        return True
    return character not in _KEPT and unicodedata.category(character) in _UNSEEN
