"""Mean and deviation of a trained model's rewards."""

from pathlib import Path

import numpy as np

from reward.harness.errors import InputError
from reward.scoring.comparisons import Comparisons
from reward.scoring.devices import best_device
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.scoring.settings import RewardSettings, write_settings
from reward.scoring.states import Store
from reward.tokens.records import TokenSettings


def normalise(
    model: Path,
    tokens: TokenSettings,
    compared: Comparisons,
    *,
    store: Store | None,
    pairs: int,
    seed: int,
    budget: int,
) -> None:
    """Write the settings of a saved model into its config.json.

    model: the folder, which is opened and scored with as evaluate does it. tokens: how the texts
    were cut. compared: the training pairs; `pairs` of their groups, drawn by the seed without
    replacement, give mean and deviation of all their responses' rewards. Their mean is off by about
    std / sqrt(2 x pairs). store: stored states of these pairs, where there are any. budget: tokens
    computed at once.

    Raises InputError where a reward is not finite.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(compared.groups))[:pairs])
    scorer = Scorer(open_model(model, best_device()))
    scorer.share_prefixes([compared.groups[i] for i in drawn])
    groups = (store.put_into(scorer, {"train": compared})["train"] if store else compared).groups
    rewards = np.concatenate(scorer.score([groups[i] for i in drawn], budget, None))
    rewards = rewards.astype(np.float64)
    if not np.isfinite(rewards).all():
        raise InputError(
            "the trained model gives rewards that are not finite: lower train.learning_rate or "
            "train.max_grad_norm."
        )
    mean, std = float(rewards.mean()), float(rewards.std())
    write_settings(model, RewardSettings(**tokens._asdict(), mean=mean, std=std))
