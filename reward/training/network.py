"""How the network that train fits is made from a backbone."""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from peft import LoraConfig, TaskType
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, set_seed
from transformers.pytorch_utils import Conv1D

from reward.harness.errors import InputError, first_line
from reward.scoring.head import head_name
from reward.sources.backbones import Lora, weights_folder

log = logging.getLogger(__name__)


def build_network(backbone: Path, seed: int, dtype: torch.dtype) -> PreTrainedModel:
    """A sequence classifier with one label on a backbone, on the CPU.

    The head is new, and so are all weights of a backbone that has none; both are drawn by the
    seed. Weights are read by torch or safetensors alone; no code of a repository runs.

    Raises InputError where transformers makes no sequence classifier of it.
    """
    weights = weights_folder(backbone)
    if weights is None:
        log.warning("%s has no weights: they are drawn by seed %d.", backbone, seed)
    set_seed(seed)
    try:
        # A reward is a real number: "regression" makes text-classification pipelines return it raw.
        config = AutoConfig.from_pretrained(
            backbone, num_labels=1, problem_type="regression", trust_remote_code=False
        )
        if weights is None:
            return AutoModelForSequenceClassification.from_config(
                config, dtype=dtype, trust_remote_code=False
            )
        return AutoModelForSequenceClassification.from_pretrained(
            weights, config=config, dtype=dtype, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"transformers makes no sequence classifier of the backbone in {backbone} "
            f"({first_line(error)}): choose another backbone."
        ) from None


def lora_config(lora: Lora, network: PreTrainedModel) -> LoraConfig:
    """Adapters as the backbone's entry asks for; the head is trained whole and saved.

    Raises InputError where a target is no linear layer of the network.
    """
    linear = [
        name for name, module in network.named_modules() if isinstance(module, nn.Linear | Conv1D)
    ]
    if lora.targets != "all-linear":
        _check_targets(lora.targets, linear)
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        # GPT-2 keeps its weights the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        target_modules=lora.targets,
        modules_to_save=[head_name(network)],
    )


def _check_targets(targets: Iterable[str], layers: Iterable[str]) -> None:
    for target in targets:
        if not any(f".{layer}".endswith(f".{target}") for layer in layers):
            ends = sorted({layer.rpartition(".")[2] for layer in layers})
            raise InputError(
                f"lora.targets has {target}, which is no linear layer of the backbone (there are: "
                f"{', '.join(ends)}): correct it in params.yaml."
            )
