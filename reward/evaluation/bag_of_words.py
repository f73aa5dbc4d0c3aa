"""The baseline that counts words: a logistic regression on token counts."""

from collections.abc import Iterable, Mapping
from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from reward.evaluation.scores import Array
from reward.harness.tables import read_batches
from reward.tokens.records import Token

BATCH_ROWS = 4096


def bag_of_words_of_sets(
    train: Path, sets: Mapping[str, pa.Table], *, strength: float, limit: int
) -> dict[str, Array]:
    """The margins of `bag_of_words` for each set of token records, by name.

    train: the file with the token records of the training pairs. strength, limit: as there.
    """
    ids = [Token.CHOSEN_IDS, Token.REJECTED_IDS]
    held_out = chain.from_iterable(table.select(ids).to_batches() for table in sets.values())
    learned_from = read_batches(train, BATCH_ROWS, ids)
    margins = bag_of_words(learned_from, held_out, strength=strength, limit=limit)
    ends = list(accumulate(table.num_rows for table in sets.values()))
    return dict(zip(sets, np.split(margins, ends[:-1]), strict=True))


def bag_of_words(
    train: Iterable[pa.RecordBatch],
    validation: Iterable[pa.RecordBatch],
    *,
    strength: float,
    limit: int,
) -> Array:
    """Margins of a logistic regression on token counts, shape (validation pairs,).

    What the choice of words alone achieves: no order, no context. The features x of a pair are
    ln(1 + count of the token) in chosen minus the same in rejected (logarithms, because a few
    very frequent tokens would rule plain counts); there is no intercept, so swapping the sides
    changes the margin's sign. Minimises
    strength * (sum over pairs of softplus(-w . x)) + |w|^2 / 2 with scikit-learn's L-BFGS.

    Args:
        train, validation: batches of token records (reward.tokens.records).
        strength: of the data against the regularisation, scikit-learn's C.
        limit: only the first `limit` training pairs are read, which bounds time and memory.
    """
    learned = _features(_head(train, limit))
    # scikit-learn wants to see both classes: every pair is there with its sides swapped as well,
    # which doubles the sum in the objective and is undone by half the strength.
    model = LogisticRegression(C=strength / 2, fit_intercept=False, max_iter=1000)
    # One thread: the vectors are too short to share, and sums do not depend on the cores at hand.
    with threadpool_limits(1):
        model.fit(sparse.vstack([learned, -learned]), np.repeat([1, 0], learned.shape[0]))
    judged = _features(validation)
    judged.resize(judged.shape[0], learned.shape[1])  # tokens that training never saw say nothing
    return judged @ model.coef_[0]


def _head(batches: Iterable[pa.RecordBatch], limit: int) -> Iterable[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, limit)
        limit -= batch.num_rows
        if limit <= 0:
            return


def _features(batches: Iterable[pa.RecordBatch]) -> sparse.csr_array:
    """ln(1 + count) in chosen minus that in rejected, shape (pairs, largest token id + 1)."""
    parts = []
    for batch in batches:
        chosen, rejected = (
            _log_counts(batch[side]) for side in (Token.CHOSEN_IDS, Token.REJECTED_IDS)
        )
        width = max(chosen.shape[1], rejected.shape[1])
        for counts in (chosen, rejected):
            counts.resize(counts.shape[0], width)
        parts.append(chosen - rejected)
    width = max(part.shape[1] for part in parts)
    for part in parts:
        part.resize(part.shape[0], width)
    return sparse.vstack(parts, format="csr")


def _log_counts(ids: pa.ListArray) -> sparse.csr_array:
    tokens = ids.flatten().to_numpy()
    starts = np.concatenate([[0], np.cumsum(ids.value_lengths().to_numpy())])
    shape = (len(ids), int(tokens.max(initial=0)) + 1)
    counts = sparse.csr_array((np.ones(len(tokens)), tokens, starts), shape=shape, copy=True)
    counts.sum_duplicates()
    return counts.log1p()
