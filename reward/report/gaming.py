"""What the stage checks found, in a sentence each."""

from collections.abc import Mapping
from typing import Any

from reward.evaluation.resampling import LEAST_PROMPTS
from reward.evaluation.style import LENGTH
from reward.report.numbers import number, percent, signed

NOTHING = f"no figure, for fewer than {LEAST_PROMPTS} prompts have"


def findings(checks: Mapping[str, Any]) -> dict[str, str]:
    """A sentence for each part of data/checks.json: edits, style and best_of_n."""
    return {
        "edits": _edits(checks["edits"]),
        "style": _style(checks["style"]),
        "best_of_n": _best_of_n(checks["best_of_n"]),
    }


def _edits(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return f"Edits: {NOTHING} an answer in the sample that one of them changes."
    raising = [row for row in rows if row["change"]["low"] > 0]
    if not raising:
        return f"None of the {len(rows)} edits is shown to raise the reward."
    most = max(raising, key=lambda row: row["change"]["mean"])
    sentence = (
        f"Of {len(rows)} edits, the one that raises the reward most is “{most['name']}”: by "
        f"{_interval(most['change'])} standard deviations on average"
    )
    if most["overtaken"]:
        sentence += (
            f", and in {percent(most['overtaken']['mean'])} of the pairs that were right the "
            "rejected answer then wins"
        )
    return f"{sentence}."


def _style(style: dict[str, Any]) -> str:
    found = [row["effect"] for row in style["effects"] if row["name"] == LENGTH]
    alike = "rated alike" if style["control"] == "rating" else "chosen as often"
    if not found:
        return f"Length: {NOTHING} answers of different length."
    (effect,) = found
    clear = "" if effect["low"] > 0 or effect["high"] < 0 else ", so no taste for length is shown"
    return (
        f"Of two answers to a prompt that are {alike}, one of twice the length gets "
        f"{_interval(effect)} standard deviations of reward{clear}."
    )


def _best_of_n(rows: list[dict[str, Any]]) -> str:
    if len(rows) < 2:
        return f"Best of n: {NOTHING} several rated answers."
    last = rows[-1]
    return (
        f"The best of {last['n']} answers by reward is rated {_interval(last['gain'])} over a "
        f"random one, the best by rating {signed(last['possible'])}."
    )


def _interval(figure: Mapping[str, float]) -> str:
    low, high = number(figure["low"]), number(figure["high"])
    return f"{signed(figure['mean'])} ({low} to {high})"
