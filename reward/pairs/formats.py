"""Rows of known shapes made preferences: a format is a way of saying which answer is better.

pairs         columns do: chosen and rejected, each an answer, a list of several, or a conversation
              that ends in the answer. Two ratings may be there, or the gap of two (margin), or in
              their place chosen_share, between 0 and 1: the share of judges that prefers chosen, a
              soft label (original_HelpSteer2_binarized, ultrafeedback_binarized, RewardBench and
              RewardBench 2, Skywork-Reward-Preference).
transcripts   the same with each conversation in one text, `\\n\\nHuman: ... \\n\\nAssistant: ...`
              (hh-rlhf) or with other speakers that take turns (reward.pairs.transcripts).
strength      a number does, for two answers side by side: negative where the first is better, zero
              for a tie (HelpSteer3: -3 to 3). Its size is the gap of the two ratings.
labels        a label does (reward.pairs.labels), for two answers (SHP, PKU-SafeRLHF, the sets of
              Chatbot Arena, summarize_from_feedback), or the labels of several judges (PandaLM).
              Both may be rated as well.
scores        a score for each of two answers does (webgpt_comparisons).
scored-lists  scores do, or ranks: one row has a prompt and a list of answers, each with a score in
              it (UltraFeedback, Nectar) or in a second list beside it.
ranked-lists  the order of a list of answers does.
ratings       ratings do, of responses that have a row each: prompt, response and attributes
              (HelpSteer, HelpSteer2).
branches      scores do, of answers to one turn that follow each other in a list of messages; one of
              them is marked as the one that the conversation goes on with (PRISM).
trees         ranks do, of messages that have a row each and name the one that they reply to
              (oasst).

The prompt may stand in several columns (reward.pairs.prompts), each a text or a conversation
(reward.pairs.conversation), and in the conversations that end in the answers.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from reward.pairs.answers import after_prompt, read_one_answer
from reward.pairs.better import find_reading
from reward.pairs.branches import read_branches
from reward.pairs.detection import detect, find_columns, unread
from reward.pairs.first_rows import FirstRows
from reward.pairs.nested import is_path, value_at
from reward.pairs.preference import Preference, UnusableError
from reward.pairs.prompts import read_prompt, with_system
from reward.pairs.rankings import comparisons, mean_rating, read_list
from reward.pairs.readers import (
    read_label,
    read_pairs,
    read_scores,
    read_strength,
    read_transcripts,
)
from reward.pairs.reading import Candidate, Reading
from reward.pairs.responses import Response, by_prompt
from reward.pairs.rows import NumberedRow, Row
from reward.pairs.trees import replies
from reward.sources.catalogue import Dataset

READ: dict[str, Callable[[Row, Reading], Iterator[Preference | UnusableError]]] = {
    "pairs": read_pairs,
    "transcripts": read_transcripts,
    "strength": read_strength,
    "labels": read_label,
    "scores": read_scores,
    "scored-lists": read_list,
    "ranked-lists": read_list,
    "branches": read_branches,
}
"""What reads a row of each format; in ratings and trees the answers to a prompt have rows each."""


class Reader:
    """A dataset's rows read as one format.

    format: its name.
    columns: from the format's name of each column to the dataset's.
    better: which answer is better, in words.
    unread: the columns with texts that are not read.
    first: the first rows, from which all of this was inferred.
    """

    def __init__(self, entry: Dataset, batches: Iterable[list[NumberedRow]]) -> None:
        """Find format and columns by the first batch. Raises InputError naming the columns that
        there are where no format, or not the entry's own, fits them, and where these rows do not
        say which answer is better.
        """
        rest = iter(batches)
        first = next(rest, [])
        self.first = FirstRows([row for _, row in first if not isinstance(row, str)])
        self.format = entry.format or detect(entry, self.first)
        self.columns = find_columns(self.format, entry, self.first)
        self.reading, self.better = find_reading(self.format, entry, self.columns, self.first)
        self.unread = unread(self.first, self.columns)
        self._theirs = {"response": self.columns.get("responses", "response")} | self.columns
        self._batches = chain([first], rest)
        self._plain = {ours: name for ours, name in self.columns.items() if not is_path(name)}
        self._nested = {ours: name for ours, name in self.columns.items() if is_path(name)}

    def candidates(self, scratch: Path, size: int) -> Iterator[Candidate]:
        """The pairs of all rows, and a reason for every row or comparison that gives none.

        scratch: a folder for what does not fit in memory; size: bytes of the source.
        """
        read = {"ratings": self._ratings, "trees": self._trees}.get(self.format, self._by_row)
        for number, outcome in read(scratch, size):
            if isinstance(outcome, UnusableError) and outcome.column:
                outcome.column = self._theirs.get(outcome.column, outcome.column)
            yield Candidate(number, outcome)

    def _by_row(self, *_: Any) -> Iterator[Candidate]:
        read = READ[self.format]
        for number, row in self._rows():
            try:
                if isinstance(row, str):
                    raise UnusableError(row)
                for outcome in read(row, self.reading):
                    yield Candidate(number, outcome)
            except UnusableError as unusable:
                yield Candidate(number, unusable)

    def _ratings(self, scratch: Path, size: int) -> Iterator[Candidate]:
        unusable: list[Candidate] = []  # filled while the responses are read

        def responses() -> Iterator[Response]:
            for number, row in self._rows():
                try:
                    if isinstance(row, str):
                        raise UnusableError(row)
                    yield self._response(number, row)
                except UnusableError as problem:
                    unusable.append(Candidate(number, problem))

        for group in by_prompt(responses(), scratch, size):
            yield from unusable
            unusable.clear()
            yield from comparisons(group, self.reading.comparisons)
        yield from unusable

    def _response(self, number: int, row: Row) -> Response:
        answer = read_one_answer(row.get("response"), "response")
        answer = after_prompt(answer, read_prompt(row), "response")
        turns = with_system(row, answer.turns)
        if not turns:
            raise UnusableError("missing_prompt", "prompt")
        return Response(number, turns, answer.text, mean_rating(row, self.reading))

    def _trees(self, scratch: Path, _: int) -> Iterator[Candidate]:
        for group in replies(self._rows(), scratch, self.reading.worth):
            if isinstance(group, Candidate):
                yield group
            else:
                yield from comparisons(group, self.reading.comparisons)

    def _rows(self) -> Iterator[NumberedRow]:
        for number, row in chain.from_iterable(self._batches):
            yield number, row if isinstance(row, str) else self._renamed(row)

    def _renamed(self, row: Row) -> Row:
        renamed = {name: row[column] for name, column in self._plain.items() if column in row}
        for name, path in self._nested.items():
            renamed[name] = value_at(row, path)
        return renamed
