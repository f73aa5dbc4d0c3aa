"""How the network that train fits is made from a backbone."""

import logging
from pathlib import Path

import torch
from peft import LoraConfig, TaskType
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, set_seed
from transformers.pytorch_utils import Conv1D

from reward.backbone import weights_folder
from reward.catalogue import Lora
from reward.scoring import head_name

log = logging.getLogger(__name__)


def build_network(backbone: Path, seed: int, dtype: torch.dtype) -> PreTrainedModel:
    """A sequence classifier with one label on a backbone, on the CPU.

    The head is new, and so are all weights of a backbone that has none; both are drawn by the
    seed. Weights are read by torch or safetensors alone; no code of a repository runs.
    """
    weights = weights_folder(backbone)
    # A reward is a real number: "regression" makes text-classification pipelines return it raw.
    config = AutoConfig.from_pretrained(backbone, num_labels=1, problem_type="regression")
    set_seed(seed)
    if weights is None:
        log.warning("%s has no weights: they are drawn by seed %d.", backbone, seed)
        return AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    return AutoModelForSequenceClassification.from_pretrained(
        weights, config=config, dtype=dtype, trust_remote_code=False, local_files_only=True
    )


def lora_config(lora: Lora, network: PreTrainedModel) -> LoraConfig:
    """Adapters as the backbone's entry asks for; the head is trained whole and saved."""
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        # GPT-2 keeps its weights the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        target_modules=lora.targets,
        modules_to_save=[head_name(network)],
    )
