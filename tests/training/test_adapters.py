"""reward/training/adapters.py: what peft gives for an adapter, and nothing else of its files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedModel,
)

from reward.harness.errors import InputError
from reward.training.adapters import merge_adapter
from tests.support.networks import ENCODERS, GROUPED, SHARED, random_network

IDS = torch.tensor([[5, 6, 7, 8]])


def trained_adapter(model: PreTrainedModel, folder: Path, **settings: Any) -> PeftModel:
    """An adapter whose numbers are not zero, saved as peft saves it."""
    values: dict[str, Any] = {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "v_proj"]}
    adapted = get_peft_model(model, LoraConfig(**values | settings))
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(str(folder))
    return adapted


def hidden(model: Any) -> Tensor:
    with torch.no_grad():
        return model(IDS, output_hidden_states=True).hidden_states[-1]


def language_model() -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**GROUPED))
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return model.eval()


def classifier_of(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": "all-linear", "task_type": TaskType.CAUSAL_LM},
        {"target_modules": r".*\.(q|k)_proj"},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"use_rslora": True, "alpha_pattern": {"v_proj": 7}, "rank_pattern": {"v_proj": 5}},
        {"use_dora": True},
        {"layers_to_transform": [1]},
    ],
    ids=str,
)
def test_an_adapter_of_a_language_model_changes_hidden_states_as_it_does_there(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = language_model()
    network = classifier_of(model, tmp_path / "base")
    before = hidden(network)
    adapted = trained_adapter(model, tmp_path / "adapter", **settings).eval()
    merged, brought = merge_adapter(network, tmp_path / "adapter")
    assert merged is network
    assert not brought
    torch.testing.assert_close(hidden(merged), hidden(adapted), rtol=1e-5, atol=1e-5)
    assert (hidden(merged) - before).abs().max() > 0.01
    assert all(weight.requires_grad for weight in merged.parameters())
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]


@pytest.mark.parametrize("name", ["gpt2", "deberta-v2", "roberta"])
def test_an_adapter_of_a_reward_model_brings_its_head(tmp_path: Path, name: str) -> None:
    config = (SHARED | ENCODERS)[name]
    heads = {"gpt2": ["score"], "deberta-v2": ["pooler", "classifier"], "roberta": ["classifier"]}
    settings: dict[str, Any] = {"target_modules": "all-linear", "task_type": TaskType.SEQ_CLS}
    settings["modules_to_save"] = [*heads[name]]
    adapted = trained_adapter(random_network(config), tmp_path, **settings).eval()
    merged, brought = merge_adapter(random_network(config), tmp_path)
    assert {one.split(".")[0] for one in brought} == set(heads[name])
    with torch.no_grad():
        found, expected = (one(IDS).logits for one in (merged, adapted))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def change(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "is more than a plain LoRA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"lora_alpha": "x"}, "no numbers above 0"),
        ({"r": 0}, "no numbers above 0"),
        ({"alpha_pattern": {"q_proj": None}}, "no numbers above 0"),
    ],
)
def test_settings_that_are_not_followed_are_named(
    tmp_path: Path, values: dict[str, Any], sentence: str
) -> None:
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    change(tmp_path, **values)
    with pytest.raises(InputError, match=sentence):
        merge_adapter(random_network(SHARED["llama"]), tmp_path)


def test_patterns_of_strangers_are_never_matched(tmp_path: Path) -> None:
    """Each of these would take longer than anybody waits."""
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    slow = "(.*.*.*.*.*.*.*.*.*.*)*_$"
    change(tmp_path, target_modules=slow, exclude_modules=slow, layers_pattern=slow)
    change(tmp_path, rank_pattern={slow: 2}, alpha_pattern={slow: 2}, modules_to_save=[slow])
    merge_adapter(random_network(SHARED["llama"]), tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("model.layers.0.self_attn.q_proj.lora_A.weight", (2, 31), "cannot be merged|of shape"),
        ("model.layers.7.self_attn.q_proj.lora_A.weight", (2, 32), "does not have"),
        ("model.layers.0.mlp.up_proj.lora_A.weight", (2, 32), "does not go with the rest"),
        ("model.embed_tokens.weight", (70, 32), r"is of shape \(70, 32\) in the adapter"),
    ],
)
def test_weights_of_another_model_are_named(
    tmp_path: Path, name: str, shape: tuple[int, ...], sentence: str
) -> None:
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file(load_file(file) | {f"base_model.model.{name}": torch.ones(shape)}, file)
    with pytest.raises(InputError, match=sentence):
        merge_adapter(random_network(SHARED["llama"]), tmp_path)


def test_an_adapter_of_another_architecture_is_named(tmp_path: Path) -> None:
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    with pytest.raises(InputError, match="no low-rank matrices for layers of GPT2For"):
        merge_adapter(random_network(SHARED["gpt2"]), tmp_path)


def test_a_head_of_two_labels_is_left_out(tmp_path: Path) -> None:
    network = random_network(SHARED["llama"])
    score = network.get_parameter("score.weight").clone()
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    save_file(load_file(file) | {"base_model.model.score.weight": torch.ones(2, 32)}, file)
    merged, brought = merge_adapter(network, tmp_path)
    assert not brought
    torch.testing.assert_close(merged.get_parameter("score.weight"), score)


def test_a_pickle_is_opened_for_numbers_alone(tmp_path: Path) -> None:
    trained_adapter(random_network(SHARED["llama"]), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    weights = load_file(file)
    file.unlink()
    torch.save(weights, tmp_path / "adapter_model.bin")
    merge_adapter(random_network(SHARED["llama"]), tmp_path)
    torch.save(weights | {"a": Path("x")}, tmp_path / "adapter_model.bin")
    with pytest.raises(InputError, match="cannot be merged into LlamaFor"):
        merge_adapter(random_network(SHARED["llama"]), tmp_path)
