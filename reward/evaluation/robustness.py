"""How far edits that change nothing an answer says move its reward, and the order of pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reward.evaluation.metrics import credit, estimate
from reward.evaluation.resampling import LEAST_PROMPTS, Bootstrap
from reward.evaluation.scores import Array


def robustness(
    names: Sequence[str],
    rewards: Array,
    edited: Array,
    prompt: Array,
    spread: float,
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """A row for each edit that enough prompts have an answer for.

    names: of the edits. rewards: (pairs, 2), chosen first. edited: rewards after each edit,
    (edits, pairs, 2), NaN where it leaves the answer as the model reads it. prompt: (pairs,).
    spread: the unit of changes.

    A row: name; answers that were changed; change, the mean over them with its interval, in units
    of `spread`; raised, the share whose reward rose; won, the pairs that the model had right and of
    which the rejected answer was changed; lost, how many of these the rejected answer then wins, a
    tie being half a win, with overtaken, lost / won and the interval that `estimate` gives it (None
    where won is 0).
    """
    rows = []
    for name, after in zip(names, edited, strict=True):
        change = (after - rewards) / spread
        pair, side = np.nonzero(~np.isnan(change))
        if len(np.unique(prompt[pair])) < LEAST_PROMPTS:
            continue
        found = change[pair, side]
        rows.append(
            {
                "name": name,
                "answers": len(found),
                "change": bootstrap.mean(found, prompt[pair]),
                "raised": float((found > 0).mean()),
                **_overtaken(rewards, after[:, 1], prompt, bootstrap.confidence),
            }
        )
    return rows


def _overtaken(rewards: Array, rejected: Array, prompt: Array, confidence: float) -> dict[str, Any]:
    chosen = rewards[:, 0]
    tried = (chosen > rewards[:, 1]) & ~np.isnan(rejected)
    if not tried.any():
        return {"won": 0, "lost": 0.0, "overtaken": None}
    lost = credit(rejected - chosen)[tried]
    found = estimate(lost, prompt[tried], confidence)
    shares = {"mean": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}
    return {
        "won": found["pairs"],
        "lost": float(lost.sum()),
        "overtaken": {name: found[share] for name, share in shares.items()},
    }
