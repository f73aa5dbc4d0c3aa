"""Adapters as they are published: a folder of PEFT, whose base model lies elsewhere."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from reward.harness.errors import InputError
from reward.harness.files import read_foreign_json

SETTINGS = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")

# What an adapter_config.json may say. `Adapter` has what its weights alone do not tell; the rest
# changes nothing about them or is how they were trained. Anything else is another method.
KNOWN = {
    *("r", "lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "init_lora_weights"),
    *("peft_type", "peft_version", "base_model_name_or_path", "revision", "task_type"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("modules_to_save", "rank_pattern", "bias", "fan_in_fan_out", "lora_dropout"),
    *("inference_mode", "auto_mapping", "runtime_config", "megatron_core", "loftq_config"),
    *("eva_config", "ensure_weight_tying", "qalora_group_size"),
}
# Initial weights that leave the base model's as they are.
PLAIN = (True, False, None, "gaussian", "eva", "orthogonal")


class Adapter(NamedTuple):
    """What adapter_config.json says of low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int
    alpha: float
    alphas: dict[str, float]
    """Of layers that have another alpha, by the ends of their names."""
    rslora: bool
    """Scaled by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732), not by alpha / rank."""
    dora: bool
    """With magnitudes of their own (Liu et al. 2024, arXiv 2402.09353)."""


def is_adapter(there: Collection[str], model_weights: Collection[str]) -> bool:
    """Whether a folder of these files holds an adapter without a whole model."""
    return SETTINGS in there and not {*model_weights} & {*there}


def read_adapter(path: Path, name: str) -> Adapter:
    """The settings of an adapter. name: what sentences call the backbone.

    Raises InputError where they are those of a method that is not merged here.
    """
    values = _values(path, name)
    other = sorted(key for key, value in values.items() if value and key not in KNOWN)
    if values.get("peft_type") != "LORA":
        other.insert(0, f"peft_type {values.get('peft_type')!r:.40}")
    if values.get("init_lora_weights", True) not in PLAIN:
        other.append(f"init_lora_weights {values['init_lora_weights']!r:.40}")
    if other:
        raise InputError(
            f"The adapter {name} is more than a plain LoRA ({', '.join(other)[:100]} in its "
            f"{SETTINGS}), and no other is read here: merge it into its base model with peft's "
            f"merge_and_unload and name the merged model as `source`."
        )
    rank, alpha, alphas = values.get("r"), values.get("lora_alpha"), values.get("alpha_pattern")
    alphas = {} if alphas is None else alphas
    numbers: list[Any] = [rank, alpha, *(alphas.values() if isinstance(alphas, dict) else [None])]
    if not all(isinstance(number, int | float) and number > 0 for number in numbers):
        raise InputError(
            f"{SETTINGS} of the adapter {name} has no numbers above 0 as r and lora_alpha: fetch "
            f"it again or choose another backbone."
        )
    rslora, dora = bool(values.get("use_rslora")), bool(values.get("use_dora"))
    return Adapter(int(numbers[0]), float(numbers[1]), alphas, rslora, dora)


def base_of(path: Path, name: str, *, local: bool) -> tuple[str, str | None]:
    """The base model that an adapter names, and its revision.

    local: whether the adapter is a folder on this machine, whose base may be one as well. A path
    that a repository of the hub names is one of its author's machine, and is not opened here.
    Raises InputError where there is no such name.
    """
    values = _values(path, name)
    base, revision = values.get("base_model_name_or_path"), values.get("revision")
    known = isinstance(base, str) and (
        (local and Path(base).is_dir()) or REPOSITORY.fullmatch(base)
    )
    if not known:
        raise InputError(
            f"The adapter {name} names {base!r:.100} as its base model, which is no folder "
            f"{'on this machine' if local else 'to be opened here'} and no repository of the hub: "
            f"name the model that it was trained on as `base` of its entry in "
            f"params.yaml, or merge both with peft's merge_and_unload."
        )
    return str(base), revision if isinstance(revision, str) and revision else None


def _values(path: Path, name: str) -> dict[str, Any]:
    return read_foreign_json(
        path, f"{SETTINGS} of the adapter {name}", "fetch it again or choose another backbone"
    )
