"""The distinct answers to each prompt, with all that is known of each."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from reward.evaluation.scores import Array, Score

SAME_RATING = 1e-9  # but for the rounding of a mean


@dataclass(frozen=True)
class Answers:
    """Arrays with one entry per distinct answer.

    An answer that is in several pairs stands once, with the means of what its pairs say of it: cut
    with another rival, it may have got another reward.
    """

    prompt: Array  # number of the prompt, int64
    reward: Array
    rating: Array  # NaN where it has none, or its pairs say different ones
    chosen: Array  # share of its pairs in which it is the chosen one
    tokens: Array  # length before truncation
    formats: Array  # which of reward.evaluation.markdown.FORMATS it has, bool (answers, formats)

    @classmethod
    def of(cls, scores: pa.Table, prompt: Array, answer: Array, formats: Array) -> Self:
        """The answers of a score table (reward.evaluation.scores), whose rows are pairs.

        prompt: the number of each pair's prompt, (pairs,). answer: numbers of both answers, chosen
        first, (pairs, 2); equal numbers, equal prompt and text. formats: (pairs, 2, formats).
        """
        _, first, place = np.unique(answer, return_index=True, return_inverse=True)
        place = place.ravel()
        pairs = np.bincount(place)

        def mean(sides: Array) -> Array:
            return np.bincount(place, weights=sides.ravel()) / pairs

        def columns(chosen: Score, rejected: Score) -> Array:
            return np.stack([scores[chosen].to_numpy(), scores[rejected].to_numpy()], axis=1)

        ratings = columns(Score.CHOSEN_RATING, Score.REJECTED_RATING)
        rating = mean(ratings)
        # Pairs that disagree rate the comparison (a strength, a margin) and not the answer.
        disagree = np.bincount(place, np.abs(ratings.ravel() - rating[place])) > SAME_RATING
        return cls(
            prompt=prompt[first // 2],
            reward=mean(columns(Score.CHOSEN_SCORE, Score.REJECTED_SCORE)),
            rating=np.where(disagree, np.nan, rating),
            chosen=mean(np.broadcast_to([1.0, 0.0], answer.shape)),
            tokens=mean(columns(Score.CHOSEN_TOKENS, Score.REJECTED_TOKENS)),
            formats=formats.reshape(-1, formats.shape[-1])[first],
        )
