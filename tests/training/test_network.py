"""reward/training/network.py: what makes no reward model is named, and no code of it runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model

from reward.harness.errors import InputError
from reward.sources.backbones import Lora
from reward.training.network import build_network, lora_config
from tests.support.networks import SHARED, random_network

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
