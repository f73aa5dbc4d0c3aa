"""The model card: what a model is, how good, made from what and how, in the form the hub reads."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markupsafe import Markup

from reward.harness.errors import printable
from reward.report.provenance import Provenance, leaves
from reward.report.verdicts import Evidence
from reward.scoring.settings import RewardSettings

# From metrics/evaluate.json to the hub's name of a metric, and to what people call it.
METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "log_loss": ("log_loss", "Log loss"),
    "brier": ("brier_score", "Brier score"),
    "calibration_error": ("expected_calibration_error", "Expected calibration error"),
}

# What Markdown may take for more than text, wherever in a line it stands (of underscores, not those
# within a word). A backslash makes it text.
MARKS = re.compile(r"[\\`*\[\]|#!~]|(?<![^\W_])_|_(?![^\W_])")
# What HTML, mathematics, mentions and bare addresses begin with, which know no backslash.
BEGINNINGS = re.compile(r"[<>&$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)

WITHOUT_EFFECT = {"checks", "evaluate", "testsets"}  # on the model


def model_card(
    template: Path,
    evidence: Evidence,
    provenance: Provenance,
    settings: RewardSettings,
    model: Path,
) -> str:
    """The text of a README.md with metadata, which begins with a line of three dashes.

    template: of the text below the metadata. settings: those in the model's config.json. model: its
    folder; by its hash reward.publish knows whose card it is.
    """
    dataset, backbone, parameters = provenance.dataset, provenance.backbone, provenance.parameters
    name = f"{parameters['backbone']}-{parameters['dataset']}-reward"
    sources = dataset["sources"]
    metadata = ModelCardData(
        library_name="transformers",
        # Whoever publishes it knows: reward.publish takes licence and language.
        license="unknown",
        pipeline_tag="text-classification",
        tags=["reward-model"],
        # Only what the hub has can be linked to.
        base_model=backbone["source"] if backbone["commit"] else None,
        datasets=[one["source"] for one in sources.values() if one["commit"]] or None,
        model_name=name,
        eval_results=_all_results(evidence, parameters["dataset"], sources),
    )
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 that would be for HTML; `finalize` is for Markdown
        finalize=_text,
    )
    environment.filters["code"] = _code
    trained_by = {key: parameters[key] for key in parameters if key not in WITHOUT_EFFECT}
    body = environment.from_string(template.read_text(encoding="utf-8")).render(
        name=name,
        measured=evidence.measured,
        confidence=evidence.settings["confidence"],
        accuracies=_accuracies(evidence.measured),
        testsets=evidence.testsets,
        dataset=dataset,
        backbone=backbone,
        parameters=parameters,
        trained_by=[(name, value) for name, value in leaves(trained_by) if value is not None],
        settings=settings,
        model_hash=provenance.hashes[model.as_posix()],
    )
    # Parsed, so that metadata which the hub could not read is an error here.
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}"))


def _all_results(evidence: Evidence, name: str, sources: Mapping[str, Any]) -> list[EvalResult]:
    """Those of the validation pairs, then those of each test set."""
    origin = next(iter(sources.values())) if len(sources) == 1 else {}
    published = origin if origin.get("commit") else {}
    results = _results(
        evidence.measured,
        dataset_type=published.get("source", name),
        dataset_name=f"{name}, held-out prompts",
        dataset_config=published.get("config"),
        dataset_split=published.get("split"),
        dataset_revision=published.get("commit"),
    )
    for testset, measured in evidence.testsets.items():
        results += _results(measured, dataset_type=f"testset-{testset}", dataset_name=testset)
    return results


def _results(measured: Mapping[str, Any], **dataset: Any) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Preference between two responses",
            metric_type=metric,
            metric_name=title,
            metric_value=measured[key],
            **dataset,
        )
        for key, (metric, title) in METRICS.items()
    ]


def _accuracies(measured: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        ("this model", measured),
        ("bag of words", measured["bag_of_words"]),
        ("the longer answer wins", measured["longer_wins"]),
        ("the shorter answer wins", measured["shorter_wins"]),
    ]


def _text(value: Any) -> str:
    """A value as text of the card, whatever marks are in it."""
    if isinstance(value, Markup):
        return value
    text = MARKS.sub(r"\\\g<0>", _line(str(value)))
    return BEGINNINGS.sub(lambda found: f"&#{ord(found[0])};", text)


def _code(name: str) -> Markup:
    """A name as a span of code, in which nothing but the backtick has a meaning."""
    return Markup(f"`{_line(name).replace('`', chr(39)) or ' '}`")  # noqa: S704 not HTML


def _line(text: str) -> str:
    """A text in one line, without anything that cannot be seen."""
    return printable(" ".join(text.split()))
