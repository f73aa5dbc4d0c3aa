"""Other test sets: files of pairs that evaluate scores after the validation pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from reward.answers import PAIR, Question
from reward.catalogue import Dataset
from reward.duplicates import Ledger
from reward.intake import Intake, judge_repeats
from reward.measures import Scored, score_table, summary
from reward.preferences import Preference, prompt_key, prompt_keys
from reward.quality import Quality
from reward.reward_model import RewardModel
from reward.rows import Tolerance
from reward.scoring import score_everywhere
from reward.stage import InputError, Params

Name = Annotated[str, Field(pattern="^[a-z0-9_-]+$")]  # of a metric and of a file


class Reading(Params):
    """The section `download` of params.yaml, which rules here as well."""

    unreadable_rows: int
    quality: Quality


class OtherSet:
    """A file of pairs, scored.

    scores: with the columns of data/scores. counts: of its rows, as download counts them.
    trained_on: how many of its pairs have a prompt of the training data.
    """

    def __init__(self, scores: pa.Table, counts: Mapping[str, Any], trained_on: int):
        self.scores, self.counts, self.trained_on = scores, counts, trained_on

    def measure(self, confidence: float, calibration_bins: int) -> dict[str, Any]:
        """What is told of it under `also` in metrics/evaluate.json."""
        measured = summary(Scored.of(self.scores), confidence, calibration_bins)
        told = {"rows": self.counts["rows"], "dropped": self.counts["dropped"]}
        return measured | told | {"prompt_in_training": self.trained_on}


def score_also(
    model: RewardModel, also: Mapping[str, str], sources: Path, reading: Reading, training: Path
) -> dict[str, OtherSet]:
    """Read and score each file of `also`, which names them; its pairs are held in memory.

    sources: the folder that all of them are in. Which rows give a pair is what download decides
    (reward.intake). training: the file of the training pairs' texts.

    Raises InputError where a file is not in `sources`, cannot be read or has no valid pair.
    """
    return {
        name: _score(model, name, source, sources, reading, training)
        for name, source in also.items()
    }


def _score(
    model: RewardModel, name: str, source: str, sources: Path, reading: Reading, training: Path
) -> OtherSet:
    # Only what lies in this folder is a dependency of the stage: no other change would be seen.
    if not Path(source).resolve().is_relative_to(sources.resolve()):
        raise InputError(
            f"evaluate.also.{name}={source} is not in {sources}, where changes are seen: put the "
            f"file there (a hub dataset is made one by `hf download`)."
        )
    intake = Intake(name, Dataset(source=source), Tolerance(reading.unreadable_rows))
    ledger = Ledger()
    found: list[Preference] = []
    with TemporaryDirectory() as scratch:
        for row, pair, problems in intake.pairs(reading.quality, Path(scratch)):
            ledger.add(pair, 0, row, problems)
            found.append(pair)
    dropped = judge_repeats(reading.quality, [intake], ledger)
    pairs = [pair for pair, drop in zip(found, dropped, strict=True) if not drop]
    if not pairs:
        raise InputError(f"{source} has no valid pair ({intake.tally}): correct it or remove it.")
    encoded = model.encode(
        [Question(pair.prompt, (pair.chosen, pair.rejected), PAIR) for pair in pairs]
    )
    groups = [model.group(one) for one in encoded]
    rewards = np.stack(score_everywhere(model.scorer, groups, model.budget, name))
    lengths = np.array([[len(answer) for answer in one.responses] for one in encoded])
    table = pa.table(
        {
            "pair_id": [pair.pair_id for pair in pairs],
            "chosen_tokens": pa.array(lengths[:, 0], pa.int32()),
            "rejected_tokens": pa.array(lengths[:, 1], pa.int32()),
            "chosen_rating": pa.array([pair.chosen_rating for pair in pairs], pa.float64()),
            "rejected_rating": pa.array([pair.rejected_rating for pair in pairs], pa.float64()),
        }
    )
    trained_on = _with_a_prompt_of(training, pairs)
    return OtherSet(score_table(table, rewards), intake.tally.counts(), trained_on)


def _with_a_prompt_of(training: Path, pairs: Sequence[Preference]) -> int:
    left = Counter(prompt_key(pair.prompt) for pair in pairs)
    return sum(left.pop(key, 0) for key in prompt_keys(training))
