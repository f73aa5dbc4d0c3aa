"""What the first screen of the report says, and the rows of its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from reward.evaluation.metrics import credit, holm, mcnemar, preference
from reward.evaluation.scores import Array, Score, Scored
from reward.harness.files import read_json
from reward.harness.tables import read_table
from reward.report.numbers import p_value, percent, setting, thousands


@dataclass(frozen=True)
class Evidence:
    """What evaluate found. The arrays have one entry per pair, in the order of `scored`."""

    measured: dict[str, Any]
    """Of the validation pairs: reward.evaluation.metrics.measure."""
    testsets: dict[str, dict[str, Any]]
    """Of each test set: reward.evaluation.metrics.summary, and what the stage testsets recorded."""
    settings: dict[str, Any]
    """The section `evaluate` of params.yaml, by which all was measured."""
    scored: Scored
    pair_ids: Array

    @classmethod
    def read(cls, scores: Path, testsets: Path) -> Self:
        """The evidence in the folders that evaluate and testsets wrote."""
        details = read_json(scores / "details.json")
        records = read_json(testsets / "records.json")
        table = read_table(scores / "validation.parquet")
        return cls(
            measured=details["measured"],
            testsets={name: part | records[name] for name, part in details["testsets"].items()},
            settings=details["settings"],
            scored=Scored.of(table),
            pair_ids=table[Score.PAIR_ID].to_numpy(),
        )


def baselines(evidence: Evidence) -> list[dict[str, Any]]:
    """The model, then each baseline with the pairs on which the two differ (see `mcnemar`)."""
    scored, measured = evidence.scored, evidence.measured
    longer = credit(scored.chosen_tokens - scored.rejected_tokens)
    rivals = (
        ("bag of words", "bag_of_words", credit(scored.bag_of_words)),
        ("longer wins", "longer_wins", longer),
        ("shorter wins", "shorter_wins", 1 - longer),
    )
    rows = [{"name": "this model", **_estimate(measured), "rival": None}]
    for name, key, right in rivals:
        better, worse, p = mcnemar(right, credit(scored.margin), scored.prompt)
        rival = {"better": better, "worse": worse, "p": p}
        rows.append({"name": name, **_estimate(measured[key]), "rival": rival})
    return rows


def subsets(evidence: Evidence) -> list[dict[str, Any]]:
    """Accuracy on the parts of the set that hold a pair, with what each part is.

    `p` is that of a part which is no weaker than all other pairs, corrected for their number.
    """
    small, large = evidence.settings["rating_gaps"]
    short, long = evidence.settings["response_lengths"]
    gap, length = evidence.measured["rating_gap"], evidence.measured["response_length"]
    named = (
        (f"rating gap up to {small:g}", gap["small"]),
        (f"rating gap over {small:g}, up to {large:g}", gap["medium"]),
        (f"rating gap over {large:g}", gap["large"]),
        (f"longer answer under {short} tokens", length["short"]),
        (f"longer answer {short} to {long - 1} tokens", length["medium"]),
        (f"longer answer {long} tokens or more", length["long"]),
        (
            f"lengths within {setting(evidence.settings['similar_length'])} of each other",
            evidence.measured["similar_length"],
        ),
        *(
            (f"dataset {name}", part)
            for name, part in evidence.measured.get("datasets", {}).items()
        ),
    )
    rows = [(name, part) for name, part in named if part["pairs"]]
    corrected = holm([part["weaker_p"] for _, part in rows])
    return [
        {"name": name, **_estimate(part), "p": p}
        for (name, part), p in zip(rows, corrected, strict=True)
    ]


def test_sets(evidence: Evidence) -> list[dict[str, Any]]:
    """Accuracy on each test set, how often the longer answer wins there, and how many pairs have a
    prompt of the training data; then, each where there is such a thing, the accuracy on its
    subsets, what best of n and its benchmark's rule gave (reward.evaluation.parts), and how many of
    its pairs were left out.
    """
    return [
        {
            "name": name,
            **_estimate(part),
            "longer_wins": part["longer_wins"]["accuracy"],
            "trained_on": part["prompt_in_training"],
            "subsets": [
                {"name": subset, **_estimate(found)}
                for subset, found in part.get("subsets", {}).items()
            ],
            "best_of_n": part.get("best_of_n"),
            "benchmark": part.get("benchmark"),
            "left_out": sum(part["dropped"].values()),
        }
        for name, part in evidence.testsets.items()
    ]


def _estimate(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ("pairs", "accuracy", "accuracy_low", "accuracy_high")}


def verdicts(
    evidence: Evidence, rows: list[dict[str, Any]], groups: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """The four questions of the first screen, each with a short answer and its reason."""
    model, *rivals = rows
    level = setting(evidence.settings["confidence"])
    return [
        {
            "question": "How good is it?",
            "answer": f"{percent(model['accuracy'])} right",
            "reason": f"on {thousands(model['pairs'])} validation pairs; {level} interval "
            f"{_interval(model)}. A coin gets {percent(0.5, 0)}.",
            "tone": "",
        },
        _against_best(
            max(rivals, key=lambda row: row["accuracy"]), evidence.settings["confidence"]
        ),
        _calibration(evidence, model),
        _weakest(groups, evidence.settings["confidence"]),
    ]


def _against_best(best: dict[str, Any], confidence: float) -> dict[str, str]:
    rival = best["rival"]
    if rival["p"] > 1 - confidence:
        answer, tone = "Not demonstrated", "warn"
    elif rival["better"] > rival["worse"]:
        answer, tone = "Yes", "good"
    else:
        answer, tone = "No, worse", "bad"
    return {
        "question": "Better than the trivial baselines?",
        "answer": answer,
        "reason": f"The best one, {best['name']}, gets {percent(best['accuracy'])}. The model "
        f"does better on {thousands(rival['better'])} pairs and worse on "
        f"{thousands(rival['worse'])} ({p_value(rival['p'])}).",
        "tone": tone,
    }


def _calibration(evidence: Evidence, model: dict[str, Any]) -> dict[str, str]:
    claimed = float(preference(evidence.scored.margin).mean())
    if claimed > model["accuracy_high"]:
        answer, tone = "Overconfident", "warn"
    elif claimed < model["accuracy_low"]:
        answer, tone = "Underconfident", "warn"
    else:
        answer, tone = "On average, yes", "good"
    return {
        "question": "Is it calibrated?",
        "answer": answer,
        "reason": f"It claims {percent(claimed)} and gets {percent(model['accuracy'])}; "
        f"expected calibration error {percent(evidence.measured['calibration_error'])}, by chance "
        f"alone about {percent(evidence.measured['calibration_error_by_chance'])}.",
        "tone": tone,
    }


def _weakest(groups: list[dict[str, Any]], confidence: float) -> dict[str, str]:
    # Some group is always the lowest: it says something only if that is more than the luck of the
    # lowest of so many.
    weak = [row for row in groups if row["p"] <= 1 - confidence]
    lowest = min(weak or groups, key=lambda row: row["accuracy"])
    start = "on" if weak else f"No group is weaker beyond chance: {percent(lowest['accuracy'])} on"
    test = f"against all others {p_value(lowest['p'])}, corrected for {len(groups)} groups"
    return {
        "question": "Where does it fail?",
        "answer": f"Weaker: {percent(lowest['accuracy'])}" if weak else "Not demonstrated",
        "reason": f"{start} the {thousands(lowest['pairs'])} pairs with {lowest['name']}; {test}.",
        "tone": "warn" if weak else "",
    }


def _interval(row: dict[str, Any]) -> str:
    return f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}"
