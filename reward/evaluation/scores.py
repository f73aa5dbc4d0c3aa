"""The scores of a set of pairs: the records of data/scores and their arrays."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reward.harness.errors import InputError
from reward.tokens.records import Token, numbered

Array = NDArray[Any]


class Score(StrEnum):
    """The columns of a score record, which is one pair."""

    PAIR_ID = "pair_id"
    PROMPT_ID = "prompt_id"
    """Equal ids, same prompt."""
    CHOSEN_SCORE = "chosen_score"
    """The reward, with all its digits."""
    REJECTED_SCORE = "rejected_score"
    CHOSEN_TOKENS = "chosen_tokens"
    """Length of the response before truncation, in tokens."""
    REJECTED_TOKENS = "rejected_tokens"
    CHOSEN_RATING = "chosen_rating"
    """Null where the pair has no ratings."""
    REJECTED_RATING = "rejected_rating"
    BAG_OF_WORDS_MARGIN = "bag_of_words_margin"
    """What the bag-of-words baseline gives chosen more than rejected."""


SCORES = pa.schema(
    [
        (Score.PAIR_ID, pa.string()),
        (Score.PROMPT_ID, pa.string()),
        (Score.CHOSEN_SCORE, pa.float64()),
        (Score.REJECTED_SCORE, pa.float64()),
        (Score.CHOSEN_TOKENS, pa.int32()),
        (Score.REJECTED_TOKENS, pa.int32()),
        (Score.CHOSEN_RATING, pa.float64()),
        (Score.REJECTED_RATING, pa.float64()),
        (Score.BAG_OF_WORDS_MARGIN, pa.float64()),
    ]
)


def score_table(tokens: pa.Table, rewards: Array, bag_of_words: Array) -> pa.Table:
    """The records of data/scores.

    tokens: a token table. rewards: (pairs, 2), chosen first. bag_of_words: margins, (pairs,).
    """
    chosen, rejected = rewards.astype(np.float64).T
    return pa.table(
        [
            tokens[Token.PAIR_ID],
            tokens[Token.PROMPT_ID],
            chosen,
            rejected,
            tokens[Token.CHOSEN_TOKENS],
            tokens[Token.REJECTED_TOKENS],
            tokens[Token.CHOSEN_RATING],
            tokens[Token.REJECTED_RATING],
            bag_of_words,
        ],
        schema=SCORES,
    )


@dataclass(frozen=True)
class Scored:
    """The columns of data/scores as arrays of shape (pairs,)."""

    chosen: Array  # score, float64
    rejected: Array
    chosen_tokens: Array  # length of the response before truncation, int64
    rejected_tokens: Array
    rating_gap: Array  # chosen rating - rejected rating, float64; NaN where the pair has no ratings
    bag_of_words: Array  # margins of that baseline, float64
    prompt: Array  # the number of its prompt, int64

    @classmethod
    def of(cls, scores: pa.Table) -> Self:
        """Raises InputError for a set without pairs and for a score that is not finite."""
        if scores.num_rows == 0:
            raise InputError("the scores hold no pair: evaluate needs at least one.")

        def column(name: Score, kind: type) -> Array:
            return scores[name].to_numpy().astype(kind)

        chosen, rejected = column(Score.CHOSEN_SCORE, float), column(Score.REJECTED_SCORE, float)
        for row in np.flatnonzero(~np.isfinite(chosen - rejected))[:1]:
            raise InputError(
                f"pair {scores[Score.PAIR_ID][row]} has the scores {chosen[row]} and "
                f"{rejected[row]}, which must be finite: train the model again with a lower "
                f"learning_rate."
            )
        ratings = column(Score.CHOSEN_RATING, float), column(Score.REJECTED_RATING, float)
        return cls(
            chosen,
            rejected,
            column(Score.CHOSEN_TOKENS, int),
            column(Score.REJECTED_TOKENS, int),
            # Ratings are decimal fractions: without rounding, 3.4 - 2.4 is less than 1.
            np.round(ratings[0] - ratings[1], 9),
            column(Score.BAG_OF_WORDS_MARGIN, float),
            numbered(scores[Score.PROMPT_ID]),
        )

    @property
    def margin(self) -> Array:
        return self.chosen - self.rejected

    @property
    def rewards(self) -> Array:
        """Scores of all responses, shape (2 * pairs,): the chosen ones, then the rejected ones."""
        return np.concatenate([self.chosen, self.rejected])

    @property
    def tokens(self) -> Array:
        """Lengths of all responses, in the order of `rewards`."""
        return np.concatenate([self.chosen_tokens, self.rejected_tokens])

    @property
    def longer(self) -> Array:
        """Length of the longer response of each pair."""
        return np.maximum(self.chosen_tokens, self.rejected_tokens)
