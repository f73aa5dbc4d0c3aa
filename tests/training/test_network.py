"""reward/training/network.py: what makes no reward model is named, and no code of it runs."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, GPT2Config, PreTrainedModel

from reward.harness.errors import InputError
from reward.scoring.head import in_head
from reward.sources.backbones import Lora
from reward.training.network import build_network, lora_config
from tests.support.networks import ENCODERS, PADDED, SHARED, random_network

KINDS = {name: SHARED[name] for name in ("gpt2", "llama")} | ENCODERS
REMOTE = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
raise SystemExit
"""


def backbone(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "source.json").write_text(json.dumps({"weights": []}), encoding="utf-8")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "nobody-knows"},
        {"model_type": "vit"},
        {"model_type": "nobody-knows", "auto_map": REMOTE},
        {"n_layer": 2},
    ],
)
def test_a_backbone_without_a_classifier_is_named_and_none_of_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: "y")  # nobody is asked
    folder = backbone(tmp_path, **config)
    with pytest.raises(InputError, match=r"no sequence classifier of the backbone in .* choose"):
        build_network(folder, 1, torch.float32)
    assert not list(tmp_path.rglob("ran"))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What this project said, and not what transformers did."""
    return [one.getMessage() for one in caplog.records if one.name.startswith("reward.")]


def published(folder: Path, network: PreTrainedModel) -> Path:
    """data/backbone of a model with weights, as download leaves it."""
    network.save_pretrained(folder)
    source = {"source": "someone/model", "commit": None, "weights": ["model.safetensors"]}
    (folder / "source.json").write_text(json.dumps(source), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_reward_model_is_gone_on_from_with_its_head_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    network = random_network(KINDS[name])
    folder = published(tmp_path, network)
    for one, value in build_network(folder, 1, torch.float32).state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[one], rtol=0, atol=0)
    (sentence,) = said(caplog)
    assert "is a reward model: training goes on from it and keeps its head" in sentence


@pytest.mark.parametrize("name", KINDS)
def test_a_classifier_of_two_labels_gets_a_new_head_and_this_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    config = deepcopy(KINDS[name])
    config.num_labels = 2
    network = random_network(config)
    built = build_network(published(tmp_path, network), 1, torch.float32)
    new = [
        one
        for one, value in built.state_dict().items()
        if value.shape != network.state_dict()[one].shape
    ]
    assert new
    assert all(in_head(built, one) for one in new)
    assert built.config.num_labels == 1
    assert all(f"has 2 labels: {one} is new" in caplog.text for one in new)
    assert "is a reward model" not in caplog.text


def test_a_model_without_a_head_gets_one_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = cast(PreTrainedModel, random_network(SHARED["llama"]).base_model)
    folder = published(tmp_path, backbone)
    build_network(folder, 1, torch.float32)
    assert not said(caplog)


def test_an_adapter_is_merged_into_its_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = random_network(SHARED["llama"])
    folder = published(tmp_path, network)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, init_lora_weights=False)
    adapted = get_peft_model(network, config).eval()
    adapted.save_pretrained(str(folder / "adapter"))
    built = build_network(folder, 1, torch.float32).eval()
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(built(ids).logits, adapted(ids).logits, rtol=1e-5, atol=1e-5)
    assert "is a reward model" in caplog.text  # the adapter has a head of one label


@pytest.mark.parametrize("name", KINDS)
def test_beside_adapters_all_of_the_head_is_trained_and_nothing_else(name: str) -> None:
    network = random_network(KINDS[name])
    head = {one for one, _ in network.named_parameters() if in_head(network, one)}
    lora = Lora(rank=2, alpha=4, targets="all-linear")
    adapted = get_peft_model(network, lora_config(lora, network))
    trained = [one for one, weight in adapted.named_parameters() if weight.requires_grad]
    adapters = [one for one in trained if "lora_" in one]
    whole = {
        one.removeprefix("base_model.model.").replace("modules_to_save.default.", "")
        for one in trained
        if "lora_" not in one
    }
    assert whole == head
    assert adapters
    prefix = f"base_model.model.{network.base_model_prefix}."
    assert all(one.startswith(prefix) and ".pooler." not in one for one in adapters)


def test_adapters_go_where_their_targets_say() -> None:
    network = random_network(SHARED["gpt2"])
    lora = Lora(rank=2, alpha=4, targets=["attn.c_attn", "c_fc"])
    adapted = get_peft_model(network, lora_config(lora, network))
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(names) == 4  # two of each of two layers
    assert all("attn.c_attn" in name or "mlp.c_fc" in name for name in names)


@pytest.mark.parametrize("target", ["q_proj", "attn", "ln_1", "_attn"])
def test_a_target_that_is_no_linear_layer_is_named(target: str) -> None:
    network = random_network(SHARED["gpt2"])
    lora = Lora(rank=2, alpha=4, targets=["c_attn", target])
    sentence = (
        rf"lora\.targets has {target}, .* \(there are: c_attn, c_fc, c_proj, score\): correct"
    )
    with pytest.raises(InputError, match=sentence):
        lora_config(lora, network)


def with_weights(folder: Path, network: PreTrainedModel) -> Path:
    """A backbone folder as download leaves it, of a network with its weights."""
    network.save_pretrained(folder)
    source = {"weights": ["model.safetensors"], "commit": None}
    (folder / "source.json").write_text(json.dumps(source), encoding="utf-8")
    return folder


# gemma3, qwen2 and GPT-Neo have a list with an entry for each layer.
@pytest.mark.parametrize(
    "name", ["gpt2", "opt", "bert", "gemma3 with a window", "qwen2 with a window", "gpt-neo"]
)
def test_a_backbone_is_cut_after_its_first_layers(tmp_path: Path, name: str) -> None:
    config = deepcopy((SHARED | PADDED)[name])
    config.update({"num_hidden_layers": 3})
    if config.to_dict().get("layer_types"):
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        config.update({"layer_types": kinds})
    if name == "gpt-neo":
        config.update({"attention_layers": ["global", "local", "global"]})
        config.update({"attention_types": [[["global", "local"], 1], [["global"], 1]]})
    whole = random_network(config)
    folder = with_weights(tmp_path / "backbone", whole)
    network = build_network(folder, 1, torch.float32, 2)
    assert network.config.num_hidden_layers == 2
    weights = network.state_dict()
    first = {key for key in whole.state_dict() if ".2." not in key}
    assert set(weights) == first
    assert len(first) < len(whole.state_dict())
    for key in first - {"score.weight", "classifier.weight", "classifier.bias"}:
        assert torch.equal(weights[key], whole.state_dict()[key]), key
    network.save_pretrained(tmp_path / "saved")
    again, loading = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "saved", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert again.config.num_hidden_layers == 2
    ids = torch.arange(3, 15)[None]
    assert torch.equal(again(ids).logits, network.eval()(ids).logits)
    # What comes out of its last layer is what the whole one has there.
    state, expected = (
        one.base_model(ids, output_hidden_states=True).hidden_states[1] for one in (again, whole)
    )
    assert torch.equal(state, expected)


def test_as_many_layers_as_there_are_is_the_whole(tmp_path: Path) -> None:
    folder = with_weights(tmp_path / "backbone", random_network(SHARED["gpt2"]))
    whole, cut = (build_network(folder, 1, torch.float32, layers) for layers in ("all", 2))
    assert cut.config.to_dict() == whole.config.to_dict()
    for key, weight in whole.state_dict().items():
        assert torch.equal(cut.state_dict()[key], weight), key


def test_more_layers_than_there_are_is_one_sentence(tmp_path: Path) -> None:
    folder = with_weights(tmp_path / "backbone", random_network(SHARED["gpt2"]))
    with pytest.raises(InputError, match=r"^layers=3 is more than the 2 that .* has: lower it"):
        build_network(folder, 1, torch.float32, 3)


def test_a_config_that_cannot_be_cut_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where something that the config says of each layer is in a form that nobody expects."""
    folder = with_weights(tmp_path / "backbone", random_network(SHARED["gpt2"]))
    make = GPT2Config.from_dict

    def strict(values: dict[str, Any], **options: Any) -> Any:
        if values["n_layer"] == 1:
            raise ValueError("2 kinds of layers and 1 layer")
        return make(values, **options)

    monkeypatch.setattr(GPT2Config, "from_dict", strict)
    with pytest.raises(InputError, match=r"^layers=1 cannot cut a GPT2Config, .* set it to all"):
        build_network(folder, 1, torch.float32, 1)
