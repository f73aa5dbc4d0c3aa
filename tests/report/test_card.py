"""The model card: metadata that the hub reads, evaluate's numbers and nothing invented."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dvc.repo import Repo
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from transformers import AutoTokenizer, pipeline

from reward.evaluation.scores import Scored
from reward.harness.errors import InputError, printable
from reward.harness.files import dvc_hash
from reward.publish import publish
from reward.report.card import METRICS, model_card
from reward.report.provenance import Provenance
from reward.report.verdicts import Evidence
from reward.scoring.settings import RewardSettings
from tests.support.models import make_model

PROJECT = Path(__file__).parents[2]
TEMPLATE = PROJECT / "reward/report/templates/model_card.md"
SETTINGS = RewardSettings(max_length=256, prompt_floor=0.25, mean=0.125, std=1.5)
PART = {"pairs": 400, "accuracy": 0.7, "accuracy_low": 0.65, "accuracy_high": 0.75}
MEASURED: dict[str, Any] = {
    **PART,
    "log_loss": 0.55,
    "brier": 0.19,
    "calibration_error": 0.03,
    "calibration_error_by_chance": 0.02,
    "reward_mean": 0.1,
    "reward_std": 1.5,
    "reward_length_spearman": None,
    "longer_wins": PART | {"accuracy": 0.52},
    "shorter_wins": PART | {"accuracy": 0.48},
    "bag_of_words": PART | {"accuracy": 0.61},
}


def provenance(commit: str | None) -> Provenance:
    origin = {"config": None, "split": "train" if commit else None, "commit": commit}
    return Provenance(
        dataset={"sources": {"mine": {"source": "them/pairs", "rows": 9, "pairs": 8, **origin}}},
        backbone={"source": "them/model", "commit": commit, "weights": ["model.safetensors"]},
        near_duplicates={},
        machine={},
        parameters={
            "dataset": "mine",
            "backbone": "small",
            "max_length": 256,
            "train": {"epochs": 3, "learning_rate": None, "evaluate_steps": 0},
            "evaluate": {"confidence": 0.975},
        },
        hashes={"data/model": "0123.dir"},
    )


def text_of(known: Provenance, **testsets: dict[str, Any]) -> str:
    nothing = np.empty(0)
    evidence = Evidence(
        measured=MEASURED,
        testsets=testsets,
        settings={"confidence": 0.975},
        scored=Scored(*[nothing] * 7),
        pair_ids=nothing,
    )
    return model_card(TEMPLATE, evidence, known, SETTINGS, Path("data/model"))


def card(commit: str | None = None, **testsets: dict[str, Any]) -> ModelCard:
    text = text_of(provenance(commit), **testsets)
    assert text.startswith("---\n")
    assert "None" not in text
    return ModelCard(text)


def metadata(found: ModelCard) -> ModelCardData:
    assert isinstance(found.data, ModelCardData)
    return found.data


def test_metadata_has_the_numbers_of_evaluate() -> None:
    data = metadata(card())
    assert data.model_name == "small-mine-reward"
    assert data.pipeline_tag == "text-classification"
    assert [(r.metric_type, r.metric_value) for r in data.eval_results or []] == [
        ("accuracy", 0.7),
        ("log_loss", 0.55),
        ("brier_score", 0.19),
        ("expected_calibration_error", 0.03),
    ]


def test_only_what_the_hub_has_is_linked() -> None:
    local, hub = metadata(card()), metadata(card("c0ffee"))
    assert (local.get("datasets"), local.get("base_model")) == (None, None)
    assert local.eval_results
    assert local.eval_results[0].dataset_type == "mine"
    assert (hub.datasets, hub.base_model) == (["them/pairs"], "them/model")
    assert hub.eval_results
    result = hub.eval_results[0]
    assert (result.dataset_type, result.dataset_revision) == ("them/pairs", "c0ffee")
    assert result.dataset_split == "train"


def test_further_test_sets_are_results_of_their_own() -> None:
    other = {name: MEASURED[name] for name in METRICS} | PART
    other |= {"accuracy": 0.8, "prompt_in_training": 7}
    found = card(bench=other)
    results = [r for r in metadata(found).eval_results or [] if r.dataset_type == "testset-bench"]
    assert [r.metric_value for r in results] == [0.8, 0.55, 0.19, 0.03]
    assert "| bench | 400 | 0.800 | 0.650 to 0.750 | 7 |" in found.text


def test_text_has_baselines_data_parameters_and_limits() -> None:
    text = card("c0ffee").text
    assert "| this model | 0.700 | 0.650 to 0.750 |" in text
    assert "| the longer answer wins | 0.520 |" in text
    assert "- `mine`: `them/pairs`, split `train`, commit `c0ffee`; 9 rows, 8 pairs kept" in text
    assert "- `train.epochs`: 3" in text
    assert "confidence`" not in text
    assert "The intervals are at the level 97.5%." in text
    assert "up to 256 tokens" in text
    assert "mean 0.125 and the standard deviation 1.500" in text


def test_a_model_that_was_chosen_by_these_pairs_is_said_to_be() -> None:
    sentence = "Training chose the model by these pairs"
    assert sentence not in card().text
    known = provenance(None)
    chosen = replace(known, parameters=known.parameters | {"train": {"evaluate_steps": 5}})
    assert sentence in text_of(chosen)


def test_a_repositorys_names_stay_names() -> None:
    known = provenance("c0ffee")
    known.dataset["sources"]["mine"]["split"] = "x`; [fixed](https://example.org)\n# News"
    assert "split `x'; [fixed](https://example.org) # News`, commit" in text_of(known)


HOSTILE = [
    "](javascript:alert(1))",
    "[x](https://example.org)",
    "![x](https://example.org/x.png)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "`code` ``more``",
    "\n---\nlicense: mit\n---\n# News",
    "a: {b: [",
    "*bold* _slanted_ __both__ ~~gone~~",
    "https://example.org www.example.org me@example.org <https://example.org>",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "&lt;b&gt; &amp; $$x$$ {{ 7 * 7 }} {% raw %}",
    "\ud800 \u202e \x00 \x1b[31m",
    "# x #",
    "\\`",
    "",
    "None",
]
hostile = st.sampled_from(HOSTILE) | st.text(max_size=20)
SAFE = {"text", "softbreak", "code_inline"}


@settings(max_examples=50)
@given(dataset=hostile, backbone=hostile, source=hostile, value=hostile, commit=st.booleans())
def test_hostile_names_are_text(
    dataset: str, backbone: str, source: str, value: str, commit: bool
) -> None:
    """Read by the parser of the hub's kind of Markdown: the same headings, links and lists as with
    harmless names, and the names themselves where they belong.
    """
    known, plain = provenance("c0ffee" if commit else None), provenance(None)
    known.dataset["sources"] = {dataset: known.dataset["sources"]["mine"] | {"source": source}}
    known.dataset["sources"][dataset]["split"] = value
    known.backbone["source"] = source
    known.parameters.update(
        {"dataset": dataset, "backbone": backbone, f"datasets.{dataset}": value}
    )
    text = text_of(known)
    text.encode()
    found = ModelCard(text)
    data = metadata(found)
    assert data.model_name == f"{backbone}-{dataset}-reward"
    assert data.license == "unknown"
    assert data.datasets == ([source] if commit else None)
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = markdown.parse(found.text)
    expected = markdown.parse(ModelCard(text_of(plain)).text)
    # One more line in the list of what it was trained by.
    kinds = [token.type for token in blocks]
    assert Counter(kinds) - Counter(token.type for token in expected) == Counter(
        ("list_item_open", "paragraph_open", "inline", "paragraph_close", "list_item_close")
    )
    inline = [part for token in blocks for part in token.children or []]
    assert {part.type for part in inline} <= SAFE
    title = "".join(part.content for part in blocks[1].children or [])
    assert title == shown(f"{backbone}-{dataset}-reward")
    spans = [part.content for part in inline if part.type == "code_inline"]
    assert shown(source).replace("`", "'") in [*spans, *(span.strip() for span in spans)]
    assert not re.search(
        r"https?://|www\.\w|<\w|\w@\w", re.sub(r"(?<!\\)`[^`]*`", "", without_example(found.text))
    )


def shown(name: str) -> str:
    """A name in one line, what cannot be seen being spelled out."""
    return printable(" ".join(name.split()))


def without_example(text: str) -> str:
    """The card without its example."""
    return re.sub("```.*?```", "", text, flags=re.DOTALL)


def test_published_folder_holds_all_and_opens(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    (model / "adapter").mkdir()  # where train saves one alone
    (model / "adapter/adapter_config.json").write_text("{}", encoding="utf-8")
    known = provenance(None)
    known.hashes["data/model"] = dvc_hash(model)
    (tmp_path / "card.md").write_text(text_of(known), encoding="utf-8")
    folder = tmp_path / "published"
    publish(folder, model, tmp_path / "card.md")
    assert {f.name for f in folder.iterdir()} == {f.name for f in model.iterdir()} | {"README.md"}
    assert (folder / "adapter/adapter_config.json").read_text(encoding="utf-8") == "{}"
    assert metadata(ModelCard.load(folder / "README.md")).model_name == "small-mine-reward"
    judge = pipeline("text-classification", model=str(folder))
    assert isinstance(judge("Hello")[0]["score"], float)
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert metadata(ModelCard.load(folder / "README.md")).license == "unknown"
    other = tmp_path / "licensed"
    publish(other, model, tmp_path / "card.md", license="apache-2.0", language=["en", "de"])
    told = ModelCard.load(other / "README.md")
    assert (metadata(told).license, metadata(told).language) == ("apache-2.0", ["en", "de"])
    assert told.text == ModelCard.load(folder / "README.md").text
    assert (
        metadata(told).eval_results == metadata(ModelCard.load(folder / "README.md")).eval_results
    )
    for wrong in ({"license": "Apache 2"}, {"language": ["English"]}):
        with pytest.raises(InputError, match=r"is no .*: give one such as"):
            publish(tmp_path / "new", model, tmp_path / "card.md", **wrong)
    with pytest.raises(InputError, match="is there already"):
        publish(folder, model, tmp_path / "card.md")
    (tmp_path / "card.md").write_text(str(card()), encoding="utf-8")
    with pytest.raises(InputError, match="describes another model than"):
        publish(tmp_path / "other", model, tmp_path / "card.md")


def test_publishing_needs_what_the_stages_write(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"which the stage train writes: run `dvc repro`"):
        publish(tmp_path / "new", tmp_path / "model", tmp_path / "card.md")
    assert not (tmp_path / "new").exists()


def test_the_model_is_an_artifact_that_registries_see() -> None:
    found = Repo(str(PROJECT)).artifacts.read()["dvc.yaml"]
    assert found["reward-model"].path == "data/model"
    assert found["reward-model"].type == "model"
    train = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"]
    assert "data/model" in train["outs"]
