"""How the network that train fits is made from a backbone."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, TaskType
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)
from transformers.pytorch_utils import Conv1D

from reward.harness.errors import InputError, first_line
from reward.scoring.border import Border
from reward.scoring.head import head_names, in_head
from reward.sources.backbones import Lora, adapter_folder, weights_folder
from reward.training.adapters import merge_adapter

log = logging.getLogger(__name__)


def build_network(
    backbone: Path, seed: int, dtype: torch.dtype, layers: int | Literal["all"] = "all"
) -> PreTrainedModel:
    """A sequence classifier with one label on a backbone, on the CPU.

    layers: how many of the backbone's, from the first, are in it.

    The head is new unless the backbone has one of a single label, and so are all weights of a
    backbone that has none; they are drawn by the seed. An adapter is merged into its base model.
    Weights are read by torch or safetensors alone; no code of a repository runs.

    Raises InputError where transformers makes no sequence classifier of it, and where its weights
    are not those of its config.
    """
    weights, adapter = weights_folder(backbone), adapter_folder(backbone)
    if adapter and layers != "all":
        raise InputError(
            f"layers={layers} cuts a backbone into which an adapter is still to be merged: set it "
            f"to all, or merge both with peft's merge_and_unload and name the result as `source`."
        )
    if weights is None:
        log.warning("%s has no weights: they are drawn by seed %d.", backbone, seed)
    set_seed(seed)
    try:
        # A reward is a real number: "regression" makes text-classification pipelines return it raw.
        config = AutoConfig.from_pretrained(
            backbone, num_labels=1, problem_type="regression", trust_remote_code=False
        )
        if layers != "all":
            _cut(config, layers)
        if weights is None:
            network = AutoModelForSequenceClassification.from_config(
                config, dtype=dtype, trust_remote_code=False
            )
            found: dict[str, Any] = {}
        else:
            network, found = AutoModelForSequenceClassification.from_pretrained(
                weights,
                config=config,
                dtype=dtype,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
    except (MemoryError, InputError):
        raise
    except Exception as error:  # files of strangers lead to errors of any kind
        raise InputError(
            f"transformers makes no sequence classifier of the backbone in {backbone} "
            f"({first_line(error) or type(error).__name__}): choose another backbone."
        ) from error
    new = _check_weights(network, found, backbone)
    if adapter:
        network, brought = merge_adapter(network, adapter)
        new -= brought
    if weights is not None and not new:
        log.warning(
            "The backbone in %s is a reward model: training goes on from it and keeps its head "
            "(%s).",
            backbone,
            ", ".join(head_names(network)),
        )
    return network


def _cut(config: PreTrainedConfig, layers: int) -> None:
    """Let a config be of so many layers. Raises InputError where it has fewer or cannot be cut."""
    text = config.get_text_config()
    if layers > text.num_hidden_layers:
        raise InputError(
            f"layers={layers} is more than the {text.num_hidden_layers} that the backbone has: "
            f"lower it in params.yaml, or set it to all."
        )
    for name, value in text.to_dict().items():
        # An entry for each layer, as in layer_types.
        if "layer" in name and isinstance(value, list) and len(value) == text.num_hidden_layers:
            setattr(text, name, value[:layers])
    text.num_hidden_layers = layers
    try:
        type(text).from_dict(text.to_dict())  # as whoever opens the saved model does
    except Exception as error:  # each config has checks of its own
        raise InputError(
            f"layers={layers} cannot cut a {type(text).__name__}, which describes its layers in a "
            f"form of its own: set it to all, or choose another backbone."
        ) from error


def _check_weights(network: PreTrainedModel, found: dict[str, Any], backbone: Path) -> set[str]:
    """The weights of the head that are drawn by the seed.

    Raises InputError where transformers would draw weights of the backbone at random: it says so
    at a level of its log that nobody reads.
    """
    of_other_labels = set()
    for name, stored, wanted in found.get("mismatched_keys", ()):
        if in_head(network, name) and tuple(stored)[1:] == tuple(wanted)[1:]:
            of_other_labels.add(name)
            log.warning("The backbone in %s has %d labels: %s is new.", backbone, stored[0], name)
            continue
        raise InputError(
            f"{name} is of shape {tuple(stored)} in the weights of the backbone in {backbone}, and "
            f"of {tuple(wanted)} by its config.json: choose a backbone whose files belong together."
        )
    missing = [name for name in sorted(found.get("missing_keys", ())) if not in_head(network, name)]
    if missing:
        raise InputError(
            f"the weights of the backbone in {backbone} lack {missing[0]} and "
            f"{len(missing) - 1} more that its config.json asks for: choose a backbone whose files "
            f"belong together."
        )
    return {*found.get("missing_keys", ())} | of_other_labels


def lora_config(lora: Lora, network: PreTrainedModel, border: Border | None = None) -> LoraConfig:
    """Adapters as the backbone's entry asks for; the head is trained whole and saved.

    border: the layers below it get no adapters.

    Raises InputError where a target is no linear layer of the network.
    """
    linear = [
        name for name, module in network.named_modules() if isinstance(module, nn.Linear | Conv1D)
    ]
    targets = lora.targets
    if targets != "all-linear":
        _check_targets(targets, linear)
    if border:
        ends = ("",) if targets == "all-linear" else tuple(f".{target}" for target in targets)
        above = {module for layer in border.above for module in layer.modules()}
        targets = [
            name
            for name in linear
            if network.get_submodule(name) in above and f".{name}".endswith(ends)
        ]
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        # GPT-2 keeps its weights the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
        target_modules=targets,
        modules_to_save=head_names(network),
    )


def _check_targets(targets: Iterable[str], layers: Iterable[str]) -> None:
    for target in targets:
        if not any(f".{layer}".endswith(f".{target}") for layer in layers):
            ends = sorted({layer.rpartition(".")[2] for layer in layers})
            raise InputError(
                f"lora.targets has {target}, which is no linear layer of the backbone (there are: "
                f"{', '.join(ends)}): correct it in params.yaml."
            )
