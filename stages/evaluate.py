"""Score every answer that was held out, once, and measure how good the model is."""

from reward.harness.stage import run

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from reward.evaluation import figures
from reward.evaluation.bag_of_words import bag_of_words_of_sets
from reward.evaluation.metrics import measure, summary
from reward.evaluation.parts import Parts, headlines, measure_parts, read_parts
from reward.evaluation.scores import Array, Scored, score_table
from reward.evaluation.settings import Evaluate
from reward.harness.files import check_output, replacing, write_json
from reward.harness.params import Params, Seconds
from reward.harness.results import write_metrics, write_plot
from reward.harness.tables import parquet_writer, read_table
from reward.scoring.comparisons import Comparisons, read_comparisons
from reward.scoring.devices import best_device, keep_freed_memory
from reward.scoring.model_folder import open_model
from reward.scoring.processes import joined_processes
from reward.scoring.quiet import quiet_transformers
from reward.scoring.scorer import Scorer, score_everywhere
from reward.scoring.states import Store

VALIDATION = "validation"
TESTSETS = "testsets/"  # before a test set's name


class EvaluateParams(Params):
    """What evaluate reads of params.yaml."""

    process_timeout: Seconds
    evaluate: Evaluate


def evaluate(
    params: EvaluateParams,
    model: Path,
    tokens: Path,
    splits: Path,
    states: Path,
    testsets: Path,
    scores: Path,
    metrics: Path,
    groups: Path,
    reliability: Path,
    margins: Path,
    accuracy_by_gap: Path,
    accuracy_by_confidence: Path,
    reward_length: Path,
) -> None:
    """Score every answer that was held out, once, and measure how good the model is.

    model: folder that train wrote. tokens: folder that tokenize wrote. splits: folder that split
    wrote. states: folder of the stage states. testsets: folder of the stage testsets. scores:
    folder for the rewards of every pair, and details.json, all that was measured. metrics: JSON
    file for the headline figures. groups, reliability, margins, accuracy_by_gap,
    accuracy_by_confidence, reward_length: CSV file behind the plot of that name.

    reward.evaluation has the columns. The same inputs give the same bytes.

    Raises InputError where a score is not finite and where another process is lost.
    """
    plots = (groups, reliability, margins, accuracy_by_gap, accuracy_by_confidence, reward_length)
    for output in (scores, metrics, *plots):
        check_output(output)
    keep_freed_memory()
    quiet_transformers()
    device, settings = best_device(), params.evaluate
    with joined_processes(device, params.process_timeout) as state:
        sets = _read_sets(tokens, testsets)
        compared = {name: read_comparisons(table) for name, table in sets.items()}
        rewards = _score(
            model, states, compared, device, settings.micro_batch_tokens.on(device.type)
        )
        if not state.is_main_process:
            return
    words = bag_of_words_of_sets(
        tokens / "train.parquet",
        sets,
        strength=settings.bag_of_words_strength,
        limit=settings.bag_of_words_pairs,
    )
    tables = {name: score_table(sets[name], rewards[name], words[name]) for name in sets}
    scored = {name: Scored.of(table) for name, table in tables.items()}
    parts = {
        name: read_parts(
            table,
            compared[name].pairs,
            datasets=splits / f"{name}.parquet" if name == VALIDATION else None,
            origins=testsets / "origins" / f"{Path(name).name}.parquet",
        )
        for name, table in sets.items()
    }
    details = _measure(scored, parts, settings)
    with replacing(scores) as partial:
        (partial / "testsets").mkdir(parents=True)
        for name, table in tables.items():
            with parquet_writer(partial / f"{name}.parquet", table.schema) as writer:
                writer.write_table(table)
        write_json(partial / "details.json", details)
    write_metrics(metrics, headlines(details))
    held_out, level = scored[VALIDATION], settings.confidence
    drawn = {
        groups: figures.groups(details["measured"]),
        reliability: figures.reliability(held_out, settings.calibration_bins, level),
        margins: figures.margins(held_out.margin),
        accuracy_by_gap: figures.accuracy_by_gap(held_out, settings.rating_gaps, level),
        accuracy_by_confidence: figures.accuracy_by_confidence(held_out, level),
        reward_length: figures.reward_length(held_out),
    }
    for path, figure in drawn.items():
        write_plot(path, figure.column_names, figure.to_pylist())


def _read_sets(tokens: Path, testsets: Path) -> dict[str, pa.Table]:
    """The token tables of the validation pairs, which come first, and of each test set.

    Each is named by its place in data/scores, without the ending.
    """
    files = {VALIDATION: tokens / f"{VALIDATION}.parquet"}
    files |= {f"{TESTSETS}{path.stem}": path for path in sorted(testsets.glob("*.parquet"))}
    return {name: read_table(path) for name, path in files.items()}


def _score(
    model: Path,
    states: Path,
    compared: Mapping[str, Comparisons],
    device: torch.device,
    budget: int,
) -> dict[str, Array]:
    """The rewards of each set, shape (pairs, 2); in every process those of all pairs."""
    scorer = Scorer(open_model(model, device))
    scorer.share_prefixes(compared[VALIDATION].groups)
    if store := Store.open(states):
        stored = store.put_into(scorer, {VALIDATION: compared[VALIDATION]})
        compared = {**compared, **stored}
    return {
        name: pairs.of_pairs(score_everywhere(scorer, pairs.groups, budget, f"evaluate {name}"))
        for name, pairs in compared.items()
    }


def _measure(
    scored: Mapping[str, Scored], parts: Mapping[str, Parts], settings: Evaluate
) -> dict[str, Any]:
    """What details.json holds: the settings, and what is measured on each set."""
    level, bins = settings.confidence, settings.calibration_bins
    measured = measure(
        scored[VALIDATION],
        confidence=level,
        calibration_bins=bins,
        rating_gaps=settings.rating_gaps,
        response_lengths=settings.response_lengths,
        similar_length=settings.similar_length,
    )
    of_parts = {name: measure_parts(parts[name], pairs, level) for name, pairs in scored.items()}
    testsets = {
        name.removeprefix(TESTSETS): summary(pairs, level, bins) | of_parts[name]
        for name, pairs in scored.items()
        if name != VALIDATION
    }
    measured |= of_parts[VALIDATION]
    return {"settings": settings.model_dump(), "measured": measured, "testsets": testsets}


if __name__ == "__main__":
    run(evaluate, EvaluateParams)
