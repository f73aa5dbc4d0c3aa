"""reward.score as a function: the rewards of evaluate, for rows of every shape."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from reward.harness.errors import InputError
from reward.harness.params import load_params
from reward.pairs.preference import UnusableError
from reward.score import score
from reward.scoring.comparisons import read_comparisons
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.serving.model import RewardModel
from reward.serving.questions import read_question
from stages.download import DownloadParams, download
from stages.split import SplitParams, split
from stages.tokenize import TokenizeParams, tokenize
from tests.support.models import SETTINGS, TINY, make_model

PROJECT = Path(__file__).parents[2]
SAMPLE = PROJECT / "data/sources/sample.jsonl"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.open(folder)


def sample(count: int) -> list[dict[str, Any]]:
    with SAMPLE.open(encoding="utf-8") as lines:
        return [json.loads(next(lines)) for _ in range(count)]


def scored_rows(
    model: RewardModel, rows: list[dict[str, Any]], **options: Any
) -> list[dict[str, Any]]:
    found = list(score(model, rows, **options))
    assert not [row for row in found if isinstance(row, UnusableError)]
    return found  # type: ignore[return-value]


def plainly(folder: Path, text: str) -> float:
    """The reward that transformers gives a text by itself."""
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad():
        return network(**ids).logits.item()


def test_pairs_get_the_rewards_of_evaluate(folder: Path, tmp_path: Path) -> None:
    """What evaluate scores, the token table, against the texts: most are over max_length."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    max_length, prompt_floor = SETTINGS.tokens
    values |= {
        "max_length": max_length,
        "tokenize": {"prompt_floor": prompt_floor, "refused": "stop"},
    }
    values["datasets"]["sample"]["source"] = str(tmp_path / "pairs.jsonl")
    values["backbones"]["tiny"]["source"] = str(TINY)
    rows = "\n".join(json.dumps(row) for row in sample(120))
    (tmp_path / "pairs.jsonl").write_text(rows, encoding="utf-8")
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(values), encoding="utf-8")
    download(load_params(DownloadParams, params), tmp_path / "raw", tmp_path / "backbone")
    split(load_params(SplitParams, params), tmp_path / "raw", tmp_path / "splits")
    tokenize(
        load_params(TokenizeParams, params),
        tmp_path / "splits",
        tmp_path / "backbone",
        tmp_path / "tokens",
    )
    table = pq.read_table(tmp_path / "tokens/train.parquet")
    groups = read_comparisons(table).groups
    scorer = Scorer(open_model(folder, torch.device("cpu")))
    assert scorer.share_prefixes(groups)
    theirs = dict(zip(table["pair_id"].to_pylist(), scorer.score(groups, 500, None), strict=True))

    pairs = pq.read_table(tmp_path / "splits/train.parquet").to_pylist()
    ours = scored_rows(RewardModel.open(folder), pairs)
    assert len(ours) == len(theirs)
    for row in ours:
        got = [row["chosen_score"], row["rejected_score"]]
        np.testing.assert_allclose(got, theirs[row["pair_id"]], rtol=0, atol=1e-5)


def test_order_and_other_keys_stay_across_chunks(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "number": number} for number, row in enumerate(sample(25))]
    at_once = scored_rows(model, rows)
    monkeypatch.setattr("reward.serving.batch.CHUNK_ROWS", 4)
    in_chunks = scored_rows(model, rows)
    assert [row["number"] for row in in_chunks] == list(range(25))
    for one, other, row in zip(at_once, in_chunks, rows, strict=True):
        assert row.items() <= one.items()
        assert one["chosen_score"] == pytest.approx(other["chosen_score"], abs=1e-5)


def test_a_pair_two_singles_and_best_of_two_agree(model: RewardModel, folder: Path) -> None:
    prompt = "Name a fruit."
    (pair,) = scored_rows(model, [{"prompt": prompt, "chosen": "Apple.", "rejected": "A stone."}])
    one, other = scored_rows(
        model,
        [
            {"prompt": prompt, "response": "Apple."},
            {
                "prompt": [{"role": "user", "content": prompt}],
                "response": [{"role": "assistant", "content": "A stone."}],
            },
        ],
    )
    (many,) = scored_rows(model, [{"prompt": prompt, "responses": ["Apple.", "A stone."]}])
    expected = [pair["chosen_score"], pair["rejected_score"]]
    assert [one["score"], other["score"]] == pytest.approx(expected, abs=1e-5)
    assert many["scores"] == pytest.approx(expected, abs=1e-5)
    text = model.encoder.render(
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": "Apple."}]
    )
    assert one["score"] == pytest.approx(plainly(folder, text), abs=1e-5)


def test_the_prompt_of_best_of_n_is_computed_once(model: RewardModel) -> None:
    row = {"prompt": "Name a fruit. " * 3, "responses": [f"Fruit {n}" for n in range(8)]}
    (encoded,) = model.encode([read_question(row)])
    group = model.group(encoded)
    assert group.prefix >= len(encoded.prompt)
    answers = sum(len(answer) for answer in encoded.responses)
    assert group.shared_tokens <= len(encoded.prompt) + answers


def test_pairs_that_hold_their_conversation_and_transcripts(model: RewardModel) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    messages = {
        side: [*turns, {"role": "assistant", "content": text}]
        for side, text in (("chosen", "Hello."), ("rejected", "Go away."))
    }
    transcripts = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Go away.",
    }
    spoken = {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Hello.", "rejected": "Go away."}
    plain = {"prompt": "Hi", "chosen": "Hello.", "rejected": "Go away."}
    both: dict[str, Any] = {"prompt": "Hi", **transcripts}
    rows: list[dict[str, Any]] = [plain, messages, transcripts, spoken, both]
    first, *others = scored_rows(model, rows)
    for other in others:
        assert other["chosen_score"] == pytest.approx(first["chosen_score"], abs=1e-5)
        assert other["rejected_score"] == pytest.approx(first["rejected_score"], abs=1e-5)
    (single,) = scored_rows(model, [{"prompt": spoken["prompt"], "response": "Hello."}])
    assert single["score"] == pytest.approx(first["chosen_score"], abs=1e-5)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "missing_response"),
        ({"prompt": "Hi"}, "missing_response"),
        ({"prompt": "Hi", "responses": []}, "missing_response"),
        ({"prompt": "Hi", "responses": "Hello"}, "wrong_type"),
        ({"prompt": "Hi", "response": 3}, "wrong_type"),
        ({"response": "Hello"}, "missing_prompt"),
        ({"prompt": " ", "response": "Hello"}, "empty_prompt"),
        ({"prompt": "Hi", "response": "\ud800"}, "broken_text"),
        (
            {"prompt": [{"role": "assistant", "content": "Hi"}], "response": "Hello"},
            "prompt_not_from_user",
        ),
    ],
)
def test_a_bad_row_gives_its_reason_and_harms_no_other(
    model: RewardModel, row: dict[str, Any], reason: str
) -> None:
    good = {"prompt": "Hi", "response": "Hello"}
    before, bad, after = score(model, [good, row, good])
    assert isinstance(bad, UnusableError)
    assert bad.reason == reason
    assert not isinstance(before, UnusableError)
    assert not isinstance(after, UnusableError)
    assert before["score"] == pytest.approx(after["score"], abs=1e-5)


def test_what_ties_and_ratings_say_does_not_hinder_scoring(model: RewardModel) -> None:
    row = {"prompt": "Hi", "chosen": "Same", "rejected": "Same"}
    rated = row | {"chosen_rating": 1, "rejected_rating": 3, "score_chosen": "bad"}
    plain, other = scored_rows(model, [row, rated])
    assert plain["chosen_score"] == pytest.approx(plain["rejected_score"], abs=1e-5)
    assert other["chosen_score"] == pytest.approx(plain["chosen_score"], abs=1e-5)


def test_a_conversation_that_the_template_refuses_is_left_out_alone(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    template = folder / "chat_template.jinja"
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template.write_text(refuse + template.read_text(encoding="utf-8"), encoding="utf-8")
    user = {"role": "user", "content": "Hi"}
    rows = [
        {"prompt": [{"role": "system", "content": "Be kind."}, user], "response": "Hello"},
        {"prompt": [user], "response": "Hello"},
    ]
    refused, scored = score(folder, rows)
    assert isinstance(refused, UnusableError)
    assert refused.reason == "refused_by_the_chat_template"
    assert not isinstance(scored, UnusableError)


def test_normalised_by_hand(model: RewardModel) -> None:
    rows = [{"prompt": "Hi", "responses": ["Hello", "Go away"]}]
    (raw,), (normalised,) = (scored_rows(model, rows, normalise=x) for x in (False, True))
    # SETTINGS: mean 0.5, deviation 2.
    assert normalised["scores"] == pytest.approx([(x - 0.5) / 2 for x in raw["scores"]])


def test_a_model_from_elsewhere_needs_its_limits(folder: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "model")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    del config["reward"]
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match=r"does not say which max_length .* give --max-length"):
        RewardModel.open(other)
    opened = RewardModel.open(other, max_length=48, prompt_floor=0.25)
    rows = sample(3)
    ours, theirs = scored_rows(opened, rows), scored_rows(RewardModel.open(folder), rows)
    assert [row["chosen_score"] for row in ours] == [row["chosen_score"] for row in theirs]
    with pytest.raises(InputError, match="mean and deviation"):
        list(score(opened, rows, normalise=True))


def test_a_folder_without_a_trained_head_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        RewardModel.open(tmp_path)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no reward model .*score\.weight"):
        open_model(tmp_path, torch.device("cpu"))


def test_a_folder_whose_weights_cannot_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for _ in ("cut short", "missing"):
        with pytest.raises(InputError, match="holds no sequence classifier that can be opened"):
            open_model(model, torch.device("cpu"))
        weights.unlink(missing_ok=True)


def test_a_length_beyond_the_models_positions_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"max_length=99999 exceeds .* positions: lower"):
        RewardModel.open(folder, max_length=99_999)
