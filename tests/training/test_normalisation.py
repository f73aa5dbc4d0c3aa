"""reward/training/normalisation.py: mean and deviation are those of the drawn responses."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from benchmarks.pairs import all_compared
from reward.harness.errors import InputError
from reward.pairs.preference import UnusableError
from reward.score import score
from reward.scoring.groups import Group
from reward.scoring.settings import read_settings
from reward.serving.model import RewardModel
from reward.serving.questions import read_question
from reward.tokens.records import TokenSettings
from reward.training.normalisation import normalise
from tests.support.models import make_model

SAMPLE = Path(__file__).parents[2] / "data/sources/sample.jsonl"


def test_saved_statistics_are_those_of_the_drawn_responses(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    opened = RewardModel.open(folder)
    with SAMPLE.open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(30)]
    encoded = opened.encode([read_question(row) for row in rows])
    cut = TokenSettings(max_length=48, prompt_floor=0.25)
    groups = [opened.group(one) for one in encoded]
    normalise(folder, cut, all_compared(groups), store=None, pairs=100, seed=1, budget=500)
    saved = read_settings(folder)
    assert saved is not None
    rewards = [
        row[side]
        for row in score(opened, rows)
        if not isinstance(row, UnusableError)
        for side in ("chosen_score", "rejected_score")
    ]
    assert saved.mean == pytest.approx(np.mean(rewards), abs=1e-6)
    assert saved.std == pytest.approx(np.std(rewards), abs=1e-6)
    assert (saved.max_length, saved.prompt_floor) == (48, 0.25)
    normalise(folder, cut, all_compared(groups), store=None, pairs=5, seed=1, budget=500)
    fewer = read_settings(folder)
    assert fewer is not None
    assert fewer.mean != saved.mean


def test_rewards_that_are_not_finite_end_in_one_sentence(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    groups = [Group.of([np.array([5, 6]), np.array([5, 7])])]
    with pytest.raises(InputError, match=r"not finite: lower train\.learning_rate"):
        normalise(
            folder,
            TokenSettings(48, 0.25),
            all_compared(groups),
            store=None,
            pairs=1,
            seed=1,
            budget=500,
        )
