"""The scoring rules of public benchmarks: one score, and that of each section, out of rewards.

A set's `scoring` in params.yaml names its rule. Throughout, a tie of two rewards is half right
(reward.evaluation.metrics.credit); the benchmarks' own code calls it wrong, which differs only
where two different answers get the very same reward.

rewardbench    Lambert et al. 2024, arXiv 2403.13787, on scoring in section 4: the mean over four
               sections of their accuracies; within a section every pair counts the same, but in
               Reasoning the mathematics as much as all code. (Its fifth section, prior test sets at
               half weight, is a repository of its own and not part of this score.)
rewardbench-2  Malik et al. 2025, arXiv 2506.01937: the mean over six subsets, each scored by best
               of n but for Ties (`ties`).
rm-bench       Liu et al. 2024, arXiv 2410.16184: the mean over four domains of the accuracy on all
               nine pairs of three chosen and three rejected answers in rising styles (`styles`).
judgebench     Tan et al. 2024, arXiv 2410.12784: the accuracy of all pairs, and in each of four
               categories.
"""

from typing import Any

import numpy as np

from reward.evaluation.best_of_n import choose
from reward.evaluation.metrics import credit
from reward.evaluation.origins import Origins
from reward.evaluation.scores import Array
from reward.evaluation.sections import MATHEMATICS, SECTIONS, TIES, sections_of


def benchmark(origins: Origins, rewards: Array) -> dict[str, Any]:
    """The score of a set by its rule, and what it is made of: finite values.

    rewards: (pairs, 2), chosen first. `sections` has the score of each section and its numbers of
    pairs and prompts, beside which rm-bench has `styles` and rewardbench-2 `ties`.
    """
    right = credit(rewards[:, 0] - rewards[:, 1])
    sections = sections_of(origins)
    further: dict[str, Any] = {}
    scores: dict[str, float] = {}
    for section in SECTIONS[origins.scoring]:
        inside = sections == section
        if section == TIES:
            further["ties"] = ties(origins, rewards, inside)
            scores[section] = further["ties"]["score"]
        elif origins.scoring == "rewardbench-2":
            scores[section] = _best_of_n(origins, rewards, inside)
        elif section == "Reasoning" and origins.scoring == "rewardbench":
            scores[section] = _reasoning(origins.subsets[inside], right[inside])
        else:
            scores[section] = float(right[inside].mean())
    if origins.scoring == "rm-bench":
        further["styles"] = styles(sections, origins.places, right)
    mean = right.mean() if origins.scoring == "judgebench" else np.mean([*scores.values()])
    return {
        "scoring": origins.scoring,
        "score": float(mean),
        "sections": {
            section: {
                "score": score,
                "pairs": int((sections == section).sum()),
                "prompts": len({*origins.rows[sections == section].tolist()}),
            }
            for section, score in scores.items()
        },
        **further,
    }


def _reasoning(subsets: Array, right: Array) -> float:
    """Half mathematics, half code, or the accuracy of the one that is there."""
    is_mathematics = subsets == MATHEMATICS
    parts = [right[part] for part in (is_mathematics, ~is_mathematics)]
    return float(np.mean([part.mean() for part in parts if len(part)]))


def _best_of_n(origins: Origins, rewards: Array, inside: Array) -> float:
    places = 2 * origins.places[inside] + [0, 1]  # chosen and rejected ones have different numbers
    ratings = np.tile([1.0, 0.0], (len(places), 1))
    return float(choose(origins.rows[inside], places, ratings, rewards[inside]).right.mean())


def ties(origins: Origins, rewards: Array, inside: Array) -> dict[str, float]:
    """RewardBench 2's score of Ties: questions with several right answers, none of which a model
    should prefer by as much as it prefers them all to the wrong ones.

    Each question has a version with one right answer (ref:N) and one with several (tied:N). Of a
    prompt, gap is its lowest right reward less its highest wrong one, and spread its highest right
    reward less its lowest right one. With g and s of tied:N and h the lower one of both gaps, the
    score is

        0.3 (share of ref with gap > 0) + 0.3 (share of tied with gap > 0)
        + 0.2 (share of N with g > s) + 0.2 (share with h > s) + 0.01 (mean of tanh(h / s - 1)),

    the last three over all N of which both versions are there; a fraction 0/0 counts 0. (Malik et
    al. 2025, arXiv 2506.01937; the weights are those of its authors' code, allenai/reward-bench,
    rewardbench/utils.py.) It is between -0.01 and 1.01.

    rewards: (pairs, 2), chosen first. inside: bool (pairs,), the pairs of Ties.
    """
    gaps: dict[str, dict[str, float]] = {"ref": {}, "tied": {}}
    spreads: dict[str, float] = {}
    for item in np.unique(origins.items[inside]).tolist():
        kind, _, number = item.partition(":")
        of_prompt = rewards[inside & (origins.items == item)]
        right, wrong = of_prompt[:, 0], of_prompt[:, 1]
        gaps[kind][number] = float(right.min() - wrong.max())
        if kind == "tied":
            spreads[number] = float(np.ptp(right))
    both = sorted(gaps["ref"].keys() & gaps["tied"].keys())
    gap = np.array([gaps["tied"][number] for number in both])
    lower = np.minimum(gap, [gaps["ref"][number] for number in both])
    spread = np.array([spreads[number] for number in both])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lower / spread
    found = {
        "ref_accuracy": float(np.mean(np.array([*gaps["ref"].values()]) > 0)),
        "tied_accuracy": float(np.mean(np.array([*gaps["tied"].values()]) > 0)),
        "gap_above_spread": float(np.mean(gap > spread)),
        "both_gaps_above_spread": float(np.mean(lower > spread)),
        "margin": float(np.mean(np.where(np.isnan(ratio), 0.0, np.tanh(ratio - 1)))),
    }
    weights = (0.3, 0.3, 0.2, 0.2, 0.01)
    score = sum(weight * part for weight, part in zip(weights, found.values(), strict=True))
    return {"score": score, **found}


def styles(domains: Array, places: Array, right: Array) -> dict[str, float]:
    """RM-Bench's accuracy by how the styles of the two answers compare, the mean over domains.

    hard: the rejected answer has the more elaborate style; normal: both have the same; easy: the
    chosen one has it (Liu et al. 2024, arXiv 2410.16184: the upper triangle, the diagonal and the
    lower triangle of the matrix of chosen by rejected styles).

    domains: texts (pairs,). places: int (pairs, 2), the styles of chosen and rejected.
    right: credits, (pairs,).
    """
    order = np.sign(places[:, 1] - places[:, 0])
    kinds = {"hard": 1, "normal": 0, "easy": -1}
    return {
        kind: float(
            np.mean(
                [
                    right[(domains == domain) & (order == sign)].mean()
                    for domain in np.unique(domains)
                ]
            )
        )
        for kind, sign in kinds.items()
    }
