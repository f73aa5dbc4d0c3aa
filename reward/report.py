"""The page that evaluate writes: one HTML file with the evidence, and nothing to fetch.

Everything on it follows from the stage's inputs, so that the same inputs give the same bytes.
"""

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
import vl_convert
from dvc_render.vega import VegaRenderer
from markupsafe import Markup

from reward import excerpts
from reward.measures import Array, Scored, credit, mcnemar, preference
from reward.provenance import Provenance, facts, quality
from reward.wording import grouped, number, p_value, percent, setting

MOST_POINTS = 300  # of a kind in a plot, evenly spaced: a long run has a step for every pixel

# What Vega draws with on the left is what the style sheet knows on the right, so that one picture
# does for light and dark. A template's own colours are these two.
COLOURS = {"#945dd6": "var(--mark)", "#888888": "var(--muted)"}
THEME = {
    "background": None,
    "font": "Liberation Sans",  # vl-convert brings it along: sizes do not depend on the machine
    "view": {"stroke": "var(--line)"},
    "axis": {
        "domainColor": "var(--line)",
        "gridColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
    },
    "header": {"labelColor": "var(--muted)", "labelFontSize": 12},
    "legend": {
        "disable": True,  # of the revision: there is one; a template that sets a legend keeps it
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
    },
}


@dataclass(frozen=True)
class Plot:
    """One picture: the table behind it, and its template for DVC."""

    name: str
    table: pa.Table
    template: Path


@dataclass(frozen=True)
class Evidence:
    """What evaluate found. The arrays have one entry per pair, in the order of `scored`."""

    measured: dict[str, Any]  # the content of metrics/evaluate.json
    scored: Scored
    bag_of_words: Array  # margins of that baseline
    pair_ids: Array
    confidence: float
    rating_gaps: tuple[float, float]
    response_lengths: tuple[int, int]
    similar_length: float


def render(
    page: Path, evidence: Evidence, plots: list[Plot], preferences: Path, provenance: Provenance
) -> str:
    """The report as HTML.

    page: the folder with report.html, report.css and report.js. preferences: the parquet file with
    the texts of the pairs.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(page),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "percent": percent,
        "number": number,
        "p": p_value,
        "group": grouped,
        "setting": setting,
    }
    # Both are named by their hash in the page's security policy: no other script or style counts.
    style, script = (
        Markup((page / name).read_text(encoding="utf-8"))  # noqa: S704 our own files
        for name in ("report.css", "report.js")
    )
    rows, groups, others = baselines(evidence), subsets(evidence), other_sets(evidence)
    return templates.get_template("report.html").render(
        style=style,
        style_hash=_policy_hash(style),
        script=script,
        script_hash=_policy_hash(script),
        measured=evidence.measured,
        confidence=evidence.confidence,
        answers=answers(evidence, rows, groups),
        baselines=rows,
        groups=groups,
        others=others,
        scale=Scale.around([*rows, *groups, *others]),
        plots={plot.name: Markup(draw(plot)) for plot in plots if plot.table.num_rows},  # noqa: S704
        pairs=excerpts.excerpts(evidence.scored, evidence.pair_ids, preferences),
        limits={
            "mistake": excerpts.MISTAKES,
            "close": excerpts.CLOSE,
            "sample": excerpts.SAMPLE,
            "text": excerpts.TEXT_BYTES,
        },
        quality=quality(provenance),
        candidates=provenance.dataset["candidates"],
        chosen_here=provenance.parameters["train"]["evaluate_steps"] > 0,
        dataset=facts(_known(provenance.dataset)),
        backbone=facts(_known(provenance.backbone)),
        parameters=facts(provenance.parameters),
        hashes=provenance.hashes,
        names={
            "dataset": provenance.parameters["dataset"],
            "backbone": provenance.parameters["backbone"],
        },
    )


def _known(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def _policy_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def baselines(evidence: Evidence) -> list[dict[str, Any]]:
    """The model, then each baseline with the pairs on which the two differ (see `mcnemar`)."""
    scored, measured = evidence.scored, evidence.measured
    longer = credit(scored.chosen_tokens - scored.rejected_tokens)
    rivals = (
        ("bag of words", "bag_of_words", credit(evidence.bag_of_words)),
        ("longer wins", "longer_wins", longer),
        ("shorter wins", "shorter_wins", 1 - longer),
    )
    rows = [{"name": "this model", **_estimate(measured), "rival": None}]
    for name, key, right in rivals:
        better, worse, p = mcnemar(right, credit(scored.margin))
        rival = {"better": better, "worse": worse, "p": p}
        rows.append({"name": name, **_estimate(measured[key]), "rival": rival})
    return rows


def subsets(evidence: Evidence) -> list[dict[str, Any]]:
    """Accuracy on the parts of the set that hold a pair, with what each part is."""
    small, large = evidence.rating_gaps
    short, long = evidence.response_lengths
    gap, length = evidence.measured["rating_gap"], evidence.measured["response_length"]
    rows = (
        (f"rating gap up to {small:g}", gap["small"]),
        (f"rating gap over {small:g}, up to {large:g}", gap["medium"]),
        (f"rating gap over {large:g}", gap["large"]),
        (f"longer answer under {short} tokens", length["short"]),
        (f"longer answer {short} to {long - 1} tokens", length["medium"]),
        (f"longer answer {long} tokens or more", length["long"]),
        (
            f"lengths within {setting(evidence.similar_length)} of each other",
            evidence.measured["similar_length"],
        ),
    )
    return [{"name": name, **_estimate(part)} for name, part in rows if part["pairs"]]


def other_sets(evidence: Evidence) -> list[dict[str, Any]]:
    """Accuracy on each set of `evaluate.also`, how often the longer answer wins there, and how
    many pairs have a prompt of the training data.
    """
    return [
        {
            "name": name,
            **_estimate(part),
            "longer_wins": part["longer_wins"]["accuracy"],
            "trained_on": part["prompt_in_training"],
        }
        for name, part in evidence.measured["also"].items()
    ]


def _estimate(part: dict[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ("pairs", "accuracy", "accuracy_low", "accuracy_high")}


@dataclass(frozen=True)
class Scale:
    """The accuracies that a chart spans, both multiples of 0.1, with 0.5 between them."""

    low: float
    high: float

    @classmethod
    def around(cls, rows: list[dict[str, Any]]) -> "Scale":
        lowest = min(0.4, *(row["accuracy_low"] for row in rows))
        highest = max(0.6, *(row["accuracy_high"] for row in rows))
        return cls(math.floor(lowest * 10) / 10, math.ceil(highest * 10) / 10)

    def at(self, accuracy: float) -> str:
        """Where an accuracy is, in percent of the chart's width."""
        return f"{100 * (accuracy - self.low) / (self.high - self.low):.2f}%"

    @property
    def ticks(self) -> list[float]:
        """Every 10 %, or every 20 % on a wide scale; 0.5 is not always among them."""
        first, last = round(self.low * 10), round(self.high * 10)
        step = 1 if last - first <= 5 else 2
        return [tick / 10 for tick in range(first, last + 1, step)]


def answers(
    evidence: Evidence, rows: list[dict[str, Any]], groups: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """The four questions of the first screen, each with a short answer and its reason."""
    model, *rivals = rows
    level = setting(evidence.confidence)
    return [
        {
            "question": "How good is it?",
            "answer": f"{percent(model['accuracy'])} right",
            "reason": f"on {grouped(model['pairs'])} validation pairs; {level} interval "
            f"{_interval(model)}. A coin gets {percent(0.5, 0)}.",
            "tone": "",
        },
        _against_best(max(rivals, key=lambda row: row["accuracy"]), evidence.confidence),
        _calibration(evidence, model),
        _weakest(groups, model),
    ]


def _against_best(best: dict[str, Any], confidence: float) -> dict[str, str]:
    rival = best["rival"]
    if rival["p"] > 1 - confidence:
        answer, tone = "Not shown", "warn"
    elif rival["better"] > rival["worse"]:
        answer, tone = "Yes", "good"
    else:
        answer, tone = "No, worse", "bad"
    return {
        "question": "Better than the trivial baselines?",
        "answer": answer,
        "reason": f"The best one, {best['name']}, gets {percent(best['accuracy'])}. The model "
        f"does better on {grouped(rival['better'])} pairs and worse on "
        f"{grouped(rival['worse'])} ({p_value(rival['p'])}).",
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
        f"expected calibration error {percent(evidence.measured['calibration_error'])}.",
        "tone": tone,
    }


def _weakest(groups: list[dict[str, Any]], model: dict[str, Any]) -> dict[str, str]:
    weakest = min(groups, key=lambda row: row["accuracy"])
    # Some group is always the lowest: it says something only if the whole set's accuracy is
    # outside of its interval.
    clear = weakest["accuracy_high"] < model["accuracy"]
    return {
        "question": "Where does it fail?",
        "answer": f"{'Worst' if clear else 'Lowest'}: {percent(weakest['accuracy'])}",
        "reason": f"on the {grouped(weakest['pairs'])} pairs with {weakest['name']}; interval "
        f"{_interval(weakest)}{'' if clear else ', so chance can explain it'}.",
        "tone": "warn" if clear else "",
    }


def _interval(row: dict[str, Any]) -> str:
    return f"{percent(row['accuracy_low'])} to {percent(row['accuracy_high'])}"


def draw(plot: Plot) -> str:
    """A plot as SVG without a background, in the colours that the page's style sheet names."""
    rows = [{**row, "rev": "workspace"} for row in plot.table.to_pylist()]
    steps = [row for row in rows if row.get("split") != "validation"]
    looks = [row for row in rows if row.get("split") == "validation"]  # few between many steps
    rows = [row for part in (steps, looks) for row in part[:: -(-len(part) // MOST_POINTS) or 1]]
    renderer = VegaRenderer(
        rows, plot.name, template=plot.template.stem, template_dir=str(plot.template.parent)
    )
    picture = renderer.get_filled_template() | {"config": THEME}
    text = json.dumps(picture)
    for drawn, named in COLOURS.items():
        text = text.replace(drawn, named)
    return vl_convert.vegalite_to_svg(text)
