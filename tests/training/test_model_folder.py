"""reward/training/model_folder.py: the saved model is one that transformers opens by itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.sources.backbones import Lora
from reward.training.model_folder import open_tokenizer, save_tokenizer, save_trained
from tests.support.models import TINY
from tests.support.networks import ENCODERS, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

GROUPS = random_groups((2,) * 8)


KINDS = {name: SHARED[name] for name in ("gpt2", "llama")} | ENCODERS


def own_rewards(network: PreTrainedModel | PeftModel) -> np.ndarray:
    """What transformers itself gives for each answer alone."""
    sequences = [one for group in GROUPS for one in group.sequences]
    with torch.no_grad():
        return np.array([network(torch.from_numpy(one)[None]).logits.item() for one in sequences])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, targets="all-linear")])
def test_a_trained_model_is_saved_whole_and_without_adapters(
    tmp_path: Path, name: str, lora: Lora | None
) -> None:
    network = random_network(KINDS[name])
    names = set(network.state_dict())
    trainer = make_trainer(tmp_path, network, GROUPS, epochs=1, lora=lora, learning_rate=1e-2)
    trainer.run(None)
    expected = trainer.scorer.score(GROUPS, 500, None)
    folder = tmp_path / "model"
    save_trained(trainer, open_tokenizer(TINY), folder)
    assert {file.name for file in folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "machine.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["id2label"], config["label2id"]) == ({"0": "reward"}, {"reward": 0})
    # CrossEncoder of sentence-transformers imports this name and calls what it finds.
    activation = config["sentence_transformers"]["activation_fn"]
    assert activation == f"{torch.nn.Identity.__module__}.{torch.nn.Identity.__qualname__}"
    opened = open_model(folder, torch.device("cpu"))
    assert set(opened.state_dict()) == names
    np.testing.assert_allclose(
        np.concatenate(Scorer(opened).score(GROUPS, 500, None)),
        np.concatenate(expected),
        rtol=1e-4,
        atol=1e-5,
    )
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.num_labels == 1
    np.testing.assert_allclose(own_rewards(theirs), np.concatenate(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "deberta-v2", "modernbert"])
def test_an_adapter_saved_alone_gives_the_same_rewards_on_the_same_base(
    tmp_path: Path, name: str
) -> None:
    network = random_network(KINDS[name])
    network.save_pretrained(tmp_path / "base")
    lora = Lora(rank=4, alpha=8, targets="all-linear", save_adapter=True)
    trainer = make_trainer(tmp_path, network, GROUPS, lora=lora, learning_rate=1e-2)
    trainer.run(None)
    folder = tmp_path / "model"
    save_trained(trainer, open_tokenizer(TINY), folder, ("someone/model", "c0ffee"))
    merged = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    opened = PeftModel.from_pretrained(base, folder / "adapter").eval()
    np.testing.assert_allclose(own_rewards(opened), own_rewards(merged), rtol=1e-5, atol=1e-5)
    assert {file.name for file in (folder / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    settings = json.loads((folder / "adapter/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "someone/model"
    assert settings["revision"] == "c0ffee"
    assert settings["target_modules"] == sorted(settings["target_modules"])


def test_a_backbone_without_a_padding_token_gets_its_last_token_for_it(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    shutil.copytree(TINY, backbone)
    file = backbone / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    del settings["pad_token"]
    file.write_text(json.dumps(settings), encoding="utf-8")
    (backbone / "special_tokens_map.json").unlink(missing_ok=True)
    tokenizer = open_tokenizer(backbone)
    assert tokenizer.pad_token == tokenizer.eos_token


def test_a_saved_tokenizer_is_the_backbones_with_padding_and_template(tmp_path: Path) -> None:
    tokenizer = open_tokenizer(TINY)
    assert tokenizer.pad_token not in (None, tokenizer.eos_token)
    save_tokenizer(tokenizer, tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert opened.chat_template == tokenizer.chat_template
    assert opened.pad_token == tokenizer.pad_token
    assert opened("Hello there.").input_ids == tokenizer("Hello there.").input_ids
    # transformers 4 knows no TokenizersBackend.
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] != "TokenizersBackend"
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]
