"""Adapters of strangers merged into a network, and a trained adapter saved alone.

Nothing of an adapter's files but numbers is used: its layers are those that its weights name, so no
pattern of theirs is matched, no module imported and no path opened.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from reward.harness.errors import InputError, first_line
from reward.scoring.head import in_head
from reward.sources.adapters import SETTINGS, WEIGHTS, Adapter, read_adapter

PREFIX = "base_model.model."  # of every name in an adapter's file
# What follows a layer's name there: matrices of linear layers and of embeddings, DoRA's magnitudes.
PART = re.compile(
    r"(?P<layer>.+)\.(?P<part>lora_(A|B|magnitude_vector)(\.weight)?|lora_embedding_(A|B))"
)


def merge_adapter(network: PreTrainedModel, folder: Path) -> tuple[PreTrainedModel, set[str]]:
    """The network with an adapter merged into its weights; and the names of those of its head that
    the adapter brought.

    folder: of adapter_config.json and its weights. A layer of another kind of network that stands
    beside the backbone, as that of a language model does, is left out.

    Raises InputError where the adapter is none of this network.
    """
    adapter = read_adapter(folder / SETTINGS, str(folder))
    try:
        weights = _read(folder)
        merged, brought = _merge(network, adapter, weights)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # files of strangers lead to errors of any kind
        raise InputError(
            f"the adapter in {folder} cannot be merged into {type(network).__name__} "
            f"({first_line(error) or type(error).__name__}): merge it into its base model with "
            f"peft's merge_and_unload and name the result as `source`."
        ) from error
    return merged, brought


def _read(folder: Path) -> dict[str, Tensor]:
    safe, pickled = (folder / name for name in WEIGHTS)
    if safe.is_file():
        return load_file(safe)
    return torch.load(pickled, map_location="cpu", weights_only=True)


def _merge(
    network: PreTrainedModel, adapter: Adapter, weights: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, set[str]]:
    parts: dict[str, Tensor] = {}
    whole: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, value in weights.items():
        plain = name.removeprefix(PREFIX).replace(".base_layer.", ".")
        found = PART.fullmatch(plain)
        layer, end = (found["layer"], found["part"]) if found else plain.rpartition(".")[::2]
        layer = _layer(network, layer)
        if layer is None:
            continue
        if found is None:
            whole[f"{layer}.{end}"] = value
            continue
        parts[f"{PREFIX}{layer}.{end}"] = value
        if end.startswith(("lora_A", "lora_embedding_A")):
            ranks[layer] = value.shape[0]
    if not ranks:
        raise InputError(
            f"the adapter has no low-rank matrices for layers of {type(network).__name__} (there "
            f"are: {', '.join(weights)[:100]}): name the base model that it is of as `base`."
        )
    brought = _put(network, whole)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # floats are scaled by as well
        target_modules=[*ranks],
        rank_pattern={re.escape(layer): rank for layer, rank in ranks.items()},
        alpha_pattern={re.escape(layer): alpha for layer, alpha in adapter.alphas.items()},
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        # GPT-2 keeps its weights the other way round.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in network.modules()),
    )
    adapted = get_peft_model(network, config)
    loaded: Any = set_peft_model_state_dict(adapted, parts)
    lacking = [name for name in loaded.missing_keys if "lora_" in name] + loaded.unexpected_keys
    if lacking:
        raise InputError(
            f"{lacking[0][:200]} does not go with the rest of the adapter: fetch it again or "
            f"choose another backbone."
        )
    merged = cast(PreTrainedModel, adapted.merge_and_unload())
    return merged.requires_grad_(True), brought  # peft has frozen all that it found


def _layer(network: PreTrainedModel, name: str) -> str | None:
    """What the network calls a layer of an adapter; None where it stands beside a backbone.

    Raises InputError where the network's backbone has no such layer.
    """
    prefix = network.base_model_prefix
    modules = {name for name, _ in network.named_modules()}
    for candidate in (name, f"{prefix}.{name}"):  # an adapter may be of the backbone alone
        if candidate in modules:
            return candidate
    if name.split(".")[0] != prefix:
        return None
    raise InputError(
        f"the adapter changes {name[:100]}, which {type(network).__name__} does not have: name "
        f"the base model that it is of as `base`."
    )


def _put(network: PreTrainedModel, weights: Mapping[str, Tensor]) -> set[str]:
    """Put weights that an adapter has whole in their places; returns those of the head.

    A head of several labels is left out.
    """
    brought = set()
    for name, value in weights.items():
        place = network.get_parameter(name)
        own = in_head(network, name)
        if own and value.shape[1:] == place.shape[1:] and value.shape != place.shape:
            continue
        if value.shape != place.shape:
            raise InputError(
                f"{name[:100]} is of shape {tuple(value.shape)} in the adapter, and of "
                f"{tuple(place.shape)} in the base model: merge it into a base model of that shape "
                f"with peft's merge_and_unload and name the result as `source`."
            )
        with torch.no_grad():
            place.copy_(value)
        if own:
            brought.add(name)
    return brought


def save_adapter(model: PeftModel, base: str, commit: str | None, folder: Path) -> None:
    """Write a trained adapter and its head alone, as `PeftModel.from_pretrained` opens them.

    base, commit: what the adapter's settings name as the model that it is of.
    """
    settings = model.active_peft_config
    settings.base_model_name_or_path, settings.revision = base, commit
    # Embeddings stay as they are; to see whether they do, peft would ask the hub for the base.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink()  # peft's card, which says nothing of this model
    file = folder / SETTINGS
    values = json.loads(file.read_text(encoding="utf-8"))
    # Sets have another order in each process.
    ordered = {
        key: sorted(value) if isinstance(value, list) else value for key, value in values.items()
    }
    file.write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n", encoding="utf-8")
