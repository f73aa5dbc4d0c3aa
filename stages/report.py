"""report: the evidence of one run as a page for people, and the card of its model."""

from reward.harness.stage import run

from pathlib import Path
from typing import Any

import pyarrow.csv

from reward.harness.errors import InputError
from reward.harness.files import dvc_hash, read_json, replacing
from reward.harness.params import Params, Seed
from reward.report.card import model_card
from reward.report.page import render
from reward.report.plots import Plot
from reward.report.provenance import Provenance, loaded_code
from reward.report.verdicts import Evidence
from reward.scoring.settings import read_settings


class ReportParams(Params):
    """What report reads of params.yaml: all that made the model, to be shown as it is."""

    dataset: str
    datasets: dict[str, dict[str, Any]]
    backbone: str
    backbones: dict[str, dict[str, Any]]
    download: dict[str, Any]
    max_length: int
    seed: Seed
    split: dict[str, Any]
    tokenize: dict[str, Any]
    states: dict[str, Any]
    train: dict[str, Any]
    testsets: dict[str, dict[str, Any]]
    evaluate: dict[str, Any]
    checks: dict[str, Any]


def report(
    params: ReportParams,
    scores: Path,
    testsets: Path,
    model: Path,
    splits: Path,
    raw: Path,
    backbone: Path,
    depths: Path,
    checks: Path,
    reliability: Path,
    margins: Path,
    accuracy_by_gap: Path,
    accuracy_by_confidence: Path,
    reward_length: Path,
    train_curve: Path,
    templates: Path,
    page: Path,
    report: Path,
    card: Path,
) -> None:
    """Write the report and the model card.

    scores: folder that evaluate wrote. testsets: folder of the stage testsets. model: folder that
    train wrote. splits: folder that split wrote. raw: folder of the pairs that download wrote.
    backbone: folder of the backbone that download wrote. depths: JSON file that states wrote.
    checks: JSON file that checks wrote. reliability, margins, accuracy_by_gap,
    accuracy_by_confidence, reward_length: CSV file of evaluate's plot. train_curve: CSV file of
    train's plot. templates: folder of DVC's plot templates. page: folder of the templates of report
    and card. report: HTML file for the report. card: Markdown file for the model card.

    The same inputs give the same bytes.
    """
    curves = [reliability, margins, accuracy_by_gap, accuracy_by_confidence]
    curves += [reward_length, train_curve]
    plots = [
        Plot(path.stem, pyarrow.csv.read_csv(path), templates / f"{path.stem}.json")
        for path in curves
    ]
    evidence = Evidence.read(scores, testsets)
    inputs = [scores, testsets, model, splits, raw, backbone, depths, checks, *curves, page]
    inputs += [plot.template for plot in plots] + [Path("stages/report.py"), *loaded_code()]
    provenance = Provenance(
        dataset=read_json(raw / "source.json"),
        backbone=read_json(backbone / "source.json"),
        near_duplicates=read_json(splits / "near_duplicates.json"),
        machine=read_json(model / "machine.json"),
        parameters=_parameters(params),
        hashes={path.as_posix(): dvc_hash(path) for path in inputs},
    )
    with replacing(report) as partial:
        pairs, tried = splits / "validation.parquet", read_json(depths)["depths"]
        html = render(page, evidence, plots, pairs, provenance, tried, read_json(checks))
        partial.write_text(html, encoding="utf-8")
    settings = read_settings(model)
    if settings is None:
        raise InputError(f"{model}/config.json lacks what train adds to it: run `dvc repro`.")
    with replacing(card) as partial:
        text = model_card(page / "model_card.md", evidence, provenance, settings, model)
        partial.write_text(text, encoding="utf-8")


def _parameters(params: ReportParams) -> dict[str, Any]:
    """All that is declared, with the entries in use in place of the catalogues."""
    values = params.model_dump(exclude={"datasets", "backbones"})
    return values | {
        f"datasets.{params.dataset}": params.datasets[params.dataset],
        f"backbones.{params.backbone}": params.backbones[params.backbone],
        "testsets": {
            name: entry for name, entry in params.testsets.items() if entry.get("enabled", True)
        },
    }


if __name__ == "__main__":
    run(report, ReportParams)
