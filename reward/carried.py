"""What a reward model's config.json carries, under the key `reward`, for those who score with it.

How texts were cut when it was trained, because a text cut otherwise gets another reward; and the
mean and deviation of its rewards, which put those of different models on one scale.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from reward.batching import Group
from reward.devices import best_device
from reward.scoring import Scorer, open_model
from reward.stage import InputError, Params

KEY = "reward"


class Carried(Params):
    """The value of `reward` in a model's config.json."""

    max_length: int = Field(ge=2)
    """Tokens of prompt and response together, as in params.yaml."""
    prompt_floor: float = Field(ge=0, lt=1)
    """Of max_length: as much of a prompt truncation leaves at least."""
    mean: float
    """Of the trained model's rewards of a sample of its training responses."""
    std: float = Field(ge=0)
    """Population standard deviation (divided by n) of the same rewards."""


def carry(
    model: Path,
    metadata: dict[bytes, bytes],
    groups: Sequence[Group],
    *,
    pairs: int,
    seed: int,
    budget: int,
) -> None:
    """Write into a saved model's config.json what `Carried` tells.

    model: the folder, which is opened and scored with as evaluate does it. metadata: of the token
    table, with max_length and prompt_floor. groups: the training pairs; `pairs` of them, drawn by
    the seed without replacement, give mean and deviation of all their responses' rewards. Their
    mean is off by about std / sqrt(2 x pairs). budget: tokens computed at once.

    Raises InputError where a reward is not finite.
    """
    drawn = np.random.default_rng(seed).permutation(len(groups))[:pairs]
    sample = [groups[i] for i in np.sort(drawn)]
    scorer = Scorer(open_model(model, best_device()))
    scorer.share_prefixes(sample)
    rewards = np.concatenate(scorer.score(sample, budget, None)).astype(np.float64)
    if not np.isfinite(rewards).all():
        raise InputError(
            "the trained model gives rewards that are not finite: lower train.learning_rate or "
            "train.max_grad_norm."
        )
    value = Carried(
        max_length=int(metadata[b"max_length"]),
        prompt_floor=float(metadata[b"prompt_floor"]),
        mean=float(rewards.mean()),
        std=float(rewards.std()),
    )
    write_carried(model, value)


def write_carried(model: Path, value: Carried) -> None:
    """Add to the config.json of a model folder, in the form in which transformers writes it."""
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {KEY: value.model_dump()}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_carried(model: Path) -> Carried | None:
    """What a model folder carries; None for one that was not trained here."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return Carried.model_validate(config[KEY]) if KEY in config else None
