"""Score every validation pair once and say how good the model is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from accelerate import PartialState
from pydantic import Field, model_validator
from transformers import logging as transformers_logging

from reward import figures
from reward.also import Name, Reading, score_also
from reward.batching import read_groups
from reward.card import model_card
from reward.devices import TokenBudget, keep_freed_memory
from reward.measures import Scored, bag_of_words, measure, score_table
from reward.provenance import Provenance, dvc_hash, loaded_code
from reward.report import Evidence, Plot, render
from reward.reward_model import RewardModel
from reward.scoring import score_everywhere
from reward.stage import Params, Seed, run, whole, write_json

Positive = Annotated[float, Field(gt=0)]


class Evaluate(Params):
    """The `evaluate` section of params.yaml, where each value is explained."""

    micro_batch_tokens: TokenBudget
    confidence: Annotated[float, Field(gt=0, lt=1)]
    calibration_bins: Annotated[int, Field(gt=0)]
    rating_gaps: tuple[Positive, Positive]
    response_lengths: tuple[int, int]
    similar_length: Annotated[float, Field(ge=0, le=1)]
    bag_of_words_strength: Positive
    bag_of_words_pairs: Annotated[int, Field(gt=0)]
    also: dict[Name, str]

    @model_validator(mode="after")
    def bounds_rise(self) -> Self:
        """A group ends where the next begins."""
        bounds = {"rating_gaps": self.rating_gaps, "response_lengths": self.response_lengths}
        for name, (first, second) in bounds.items():
            if not 0 < first < second:
                raise ValueError(f"{name}=[{first}, {second}] must rise, from above 0")
        return self


class EvaluateParams(Params):
    """What evaluate reads of params.yaml: its section, and for the report what made the model."""

    dataset: str
    datasets: dict[str, dict[str, Any]]
    backbone: str
    backbones: dict[str, dict[str, Any]]
    download: Reading
    max_length: int
    seed: Seed
    split: dict[str, Any]
    tokenize: dict[str, Any]
    train: dict[str, Any]
    evaluate: Evaluate


def evaluate(
    params: EvaluateParams,
    model: Path,
    tokens: Path,
    splits: Path,
    raw: Path,
    backbone: Path,
    train_curve: Path,
    templates: Path,
    page: Path,
    sources: Path,
    scores: Path,
    metrics: Path,
    reliability: Path,
    margins: Path,
    accuracy_by_gap: Path,
    reward_length: Path,
    report: Path,
    card: Path,
) -> None:
    """Score every validation pair once and say how good the model is.

    model, tokens, splits, raw, backbone: folders that train, tokenize, split and download wrote.
    train_curve: train's CSV file. templates: the folder of DVC's plot templates. page: the folder
    of the templates of report and card. sources: the folder of the files that evaluate.also names.
    scores: the folder for validation.parquet, one row per pair, and also/NAME.parquet. metrics: a
    JSON file. reliability to reward_length: CSV files behind plots (reward/figures.py tells their
    columns). report: an HTML file. card: a Markdown file. The same inputs give the same bytes.

    Raises InputError where a score is not finite or a file of evaluate.also cannot be scored.
    """
    keep_freed_memory()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    state, settings = PartialState(), params.evaluate
    opened = RewardModel.open(model, budget=settings.micro_batch_tokens)
    table = pq.read_table(tokens / "validation.parquet")
    groups = read_groups(table)
    opened.scorer.share_prefixes(groups)
    rewards = np.stack(score_everywhere(opened.scorer, groups, opened.budget, "evaluate"))
    others = score_also(opened, settings.also, sources, params.download, splits / "train.parquet")
    if not state.is_main_process:
        return
    table = score_table(table, rewards)
    scored = Scored.of(table)
    baseline = bag_of_words(
        _token_ids(tokens / "train.parquet"),
        _token_ids(tokens / "validation.parquet"),
        strength=settings.bag_of_words_strength,
        limit=settings.bag_of_words_pairs,
    )
    bins, level = settings.calibration_bins, settings.confidence
    measured = measure(
        scored,
        baseline,
        confidence=level,
        calibration_bins=bins,
        rating_gaps=settings.rating_gaps,
        response_lengths=settings.response_lengths,
        similar_length=settings.similar_length,
    )
    measured["also"] = {name: other.measure(level, bins) for name, other in others.items()}
    write_json(metrics, measured)
    with whole(scores) as partial:
        (partial / "also").mkdir(parents=True)
        pq.write_table(table, partial / "validation.parquet")
        for name, other in others.items():
            pq.write_table(other.scores, partial / f"also/{name}.parquet")
    drawn = {
        reliability: figures.reliability(scored.margin, bins, level),
        margins: figures.margins(scored.margin),
        accuracy_by_gap: figures.accuracy_by_gap(scored, settings.rating_gaps, level),
        reward_length: figures.reward_length(scored),
    }
    for path, figure in drawn.items():
        with whole(path) as partial:
            pyarrow.csv.write_csv(figure, partial)
    drawn[train_curve] = pyarrow.csv.read_csv(train_curve)
    plots = [
        Plot(path.stem, figure, templates / f"{path.stem}.json") for path, figure in drawn.items()
    ]
    evidence = Evidence(
        measured=measured,
        scored=scored,
        bag_of_words=baseline,
        pair_ids=table["pair_id"].to_numpy(),
        confidence=level,
        rating_gaps=settings.rating_gaps,
        response_lengths=settings.response_lengths,
        similar_length=settings.similar_length,
    )
    inputs = [model, tokens, splits, raw, backbone, sources, train_curve, page]
    inputs += [plot.template for plot in plots] + [Path("stages/evaluate.py"), *loaded_code()]
    provenance = Provenance(
        dataset=_record(raw / "source.json"),
        backbone=_record(backbone / "source.json"),
        near_duplicates=_record(splits / "near_duplicates.json"),
        parameters=_parameters(params),
        hashes={path.as_posix(): dvc_hash(path) for path in inputs},
    )
    with whole(report) as partial:
        html = render(page, evidence, plots, splits / "validation.parquet", provenance)
        partial.write_text(html, encoding="utf-8")
    with whole(card) as partial:
        text = model_card(page / "model_card.md", measured, provenance, opened.carried, model)
        partial.write_text(text, encoding="utf-8")


def _token_ids(path: Path) -> Iterator[pa.RecordBatch]:
    return pq.ParquetFile(path).iter_batches(columns=["chosen_ids", "rejected_ids"])


def _record(path: Path) -> dict[str, Any]:
    """What an earlier stage noted about its output."""
    return json.loads(path.read_text(encoding="utf-8"))


def _parameters(params: EvaluateParams) -> dict[str, Any]:
    """All that is declared, with the entries in use in place of the catalogues."""
    values = params.model_dump(exclude={"datasets", "backbones"})
    return values | {
        f"datasets.{params.dataset}": params.datasets[params.dataset],
        f"backbones.{params.backbone}": params.backbones[params.backbone],
    }


if __name__ == "__main__":
    run(evaluate, EvaluateParams)
