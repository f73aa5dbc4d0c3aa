"""A small reward model in a folder, as train leaves it, without training it; and a backbone."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from reward.scoring.settings import RewardSettings, write_settings
from reward.training.model_folder import open_tokenizer, save_tokenizer

TINY = Path(__file__).parents[2] / "data/sources/tiny"
SETTINGS = RewardSettings(max_length=48, prompt_floor=0.25, mean=0.5, std=2.0)


def make_model(folder: Path, backbone: Path = TINY) -> Path:
    """Weights large enough that another token, position or length gives another reward."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(backbone, num_labels=1, problem_type="regression")
    network = AutoModelForSequenceClassification.from_config(config)
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.1)
    network.save_pretrained(folder)
    save_tokenizer(open_tokenizer(backbone), folder)
    write_settings(folder, SETTINGS)
    return folder


def save_weights(backbone: Path) -> None:
    """Give a backbone folder weights, as somebody else has trained them: without a head."""
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.from_pretrained(backbone))
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.1)
    weights = {name: weight.contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, backbone / "model.safetensors", metadata={"format": "pt"})
