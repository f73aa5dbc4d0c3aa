"""The report: one HTML file with the evidence, and nothing to fetch.

Everything on it follows from the stage's inputs, so that the same inputs give the same bytes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reward.report import excerpts
from reward.report.gaming import findings
from reward.report.numbers import number, p_value, percent, setting, signed, thousands
from reward.report.plots import Plot, Scale, draw
from reward.report.provenance import Provenance, facts, quality_table
from reward.report.verdicts import Evidence, baselines, subsets, test_sets, verdicts


def render(
    page: Path,
    evidence: Evidence,
    plots: list[Plot],
    preferences: Path,
    provenance: Provenance,
    depths: Sequence[Mapping[str, Any]] = (),
    checks: Mapping[str, Any] | None = None,
) -> str:
    """The report as HTML.

    page: the folder with the templates report.html and checks.html, report.css and report.js.
    preferences: the parquet file with the texts of the pairs. depths: what a head alone would get
    after each of several depths (reward.evaluation.depths), if that was tried. checks: what the
    stage checks found.
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
        "signed": signed,
        "p": p_value,
        "thousands": thousands,
        "setting": setting,
    }
    # Both are named by their hash in the page's security policy: no other script or style counts.
    style, script = (
        Markup((page / name).read_text(encoding="utf-8"))  # noqa: S704 our own files
        for name in ("report.css", "report.js")
    )
    tried = [row | {"name": f"{row['depth']} layers"} for row in map(dict, depths)]
    rows, groups, further = baselines(evidence), subsets(evidence), test_sets(evidence)
    subsets_of_sets = [row for one in further for row in one["subsets"]]
    return templates.get_template("report.html").render(
        style=style,
        style_hash=_policy_hash(style),
        script=script,
        script_hash=_policy_hash(script),
        measured=evidence.measured,
        confidence=evidence.settings["confidence"],
        verdicts=verdicts(evidence, rows, groups),
        baselines=rows,
        groups=groups,
        testsets=further,
        depths=tried,
        checks=checks,
        findings=findings(checks) if checks else {},
        scale=Scale.around([*rows, *groups, *further, *subsets_of_sets, *tried]),
        plots={plot.name: Markup(draw(plot)) for plot in plots if plot.table.num_rows},  # noqa: S704
        pairs=excerpts.excerpts(evidence.scored, evidence.pair_ids, preferences),
        limits={
            "mistake": excerpts.MISTAKES,
            "close": excerpts.CLOSE,
            "sample": excerpts.SAMPLE,
            "text": excerpts.TEXT_BYTES,
        },
        quality=quality_table(provenance),
        candidates=provenance.dataset["candidates"],
        chosen_here=provenance.parameters["train"]["evaluate_steps"] > 0,
        dataset=facts(_known(provenance.dataset)),
        backbone=facts(_known(provenance.backbone)),
        parameters=facts(provenance.parameters),
        machine=facts(provenance.machine),
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
