"""A backbone: config, tokenizer and weights, from a folder on this machine or from the hub.

data/backbone holds config.json, the tokenizer with its chat template and source.json, and a local
backbone's weights. A hub backbone's weights stay in the hub's cache, named here by commit and hash.
Of an adapter, data/backbone/adapter has the files, and all else is that of its base model.
"""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from reward.harness.errors import InputError
from reward.harness.files import write_json
from reward.harness.params import Params
from reward.sources import adapters, hub
from reward.sources.model_files import (
    CONFIG,
    WEIGHTS,
    Place,
    fetch_weights,
    has_tokenizer,
    hub_place,
    local_place,
    place_of,
    write_tokenizer,
)
from reward.sources.usable import check_config, check_tokenizer, head_note

ADAPTER = "adapter"  # the folder in data/backbone of one that is to be merged


class Lora(Params):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) instead of full fine-tuning."""

    rank: int = Field(gt=0)
    alpha: int = Field(gt=0)
    """Updates are scaled by alpha / rank."""
    targets: Literal["all-linear"] | list[str]
    """The layers that get an adapter, by the end of their names."""
    save_adapter: bool = False
    """Whether data/model/adapter gets the adapter alone as well, in peft's form."""


class Backbone(Params):
    """One entry of `backbones`."""

    source: str = Field(min_length=1)
    """A folder on this machine with a config and a tokenizer, or a model repository of the hub."""
    revision: str | None = None
    """Hub only: a branch, tag or commit; None is the main branch."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate of a run on this backbone."""
    lora: Lora | None = None
    """None trains every weight."""
    base: str | None = None
    """Of an adapter as source: its base model, where it is not the one that the adapter names."""
    layers: Literal["all"] | PositiveInt = "all"
    """How many of its layers there are in the reward model, from the first."""
    trained_layers: Literal["all"] | NonNegativeInt = "all"
    """How many of these are trained, from the last; 0 trains the head alone. With lora, the others
    get no adapters."""


def fetch_backbone(
    entry: Backbone, folder: Path, before_weights: Callable[[], None] = lambda: None
) -> list[str]:
    """Fill `folder` (data/backbone) from a catalogue entry; returns the names of its weight files.

    before_weights: is called when config and tokenizer are in the folder; what it raises InputError
    for is told before any weights are fetched.

    Raises InputError where the source does not exist, lacks a config or a usable tokenizer, or is
    of a kind of which no reward model is made. Weights, which may be large, are fetched last.
    """
    place = base = place_of(entry.source, entry.revision)
    adapter: dict[str, hub.Fetched] = {}
    if adapters.is_adapter(place.there, WEIGHTS):
        adapter, base = _adapter(entry, place, folder / ADAPTER)
    elif entry.base is not None:
        raise InputError(
            f"base={entry.base} is for adapters, and {entry.source} is none (it has no "
            f"{adapters.SETTINGS}, or a model's weights as well): remove `base` from its entry."
        )
    config = _config(base, folder)
    # An adapter may have a tokenizer beside it, whose chat template it was trained with.
    owner = place if has_tokenizer(place.there) else base
    tokenizer = write_tokenizer(owner, config, folder)
    check_tokenizer(owner.source, folder)
    before_weights()
    weights = fetch_weights(base)
    if base.commit is None:
        for file in weights.values():
            shutil.copy(file.path, folder)
    if adapter:
        if not weights:
            raise InputError(
                f"{base.source}, the base model of the adapter {entry.source}, has no weights: "
                f"name one that has as `base` of its entry in params.yaml."
            )
        own = tokenizer if owner is place else {}
        named = base.record({CONFIG: config} | weights, weights)
        record = place.record(adapter | own, adapter.keys() & {*adapters.WEIGHTS}) | {"base": named}
    else:
        record = base.record({CONFIG: config} | tokenizer | weights, weights)
        if weights and (note := head_note(entry.source, config.path)):
            print(note, file=sys.stderr)
    write_json(folder / "source.json", record)
    return sorted(weights)


def _config(place: Place, folder: Path) -> hub.Fetched:
    if CONFIG not in place.there:
        raise InputError(
            f"The backbone {place.source} has no config.json (there are: "
            f"{', '.join(sorted(place.there)) or 'no files'}): choose a transformers model as "
            f"its `source`."
        )
    config = place.fetch(CONFIG)
    check_config(place.source, config.path, has_weights=bool({*WEIGHTS} & {*place.there}))
    shutil.copy(config.path, folder)
    return config


def _adapter(entry: Backbone, place: Place, folder: Path) -> tuple[dict[str, hub.Fetched], Place]:
    """Fill `folder` with an adapter; returns its files and where its base model is."""
    settings = place.fetch(adapters.SETTINGS)
    adapters.read_adapter(settings.path, entry.source)
    local = place.commit is None
    if entry.base is not None:
        base = place_of(entry.base, None)
    else:
        name, revision = adapters.base_of(settings.path, entry.source, local=local)
        base = (
            local_place(name, None) if local and Path(name).is_dir() else hub_place(name, revision)
        )
    if adapters.is_adapter(base.there, WEIGHTS):
        raise InputError(
            f"{base.source}, the base model of the adapter {entry.source}, is an adapter as well: "
            f"merge it first, with peft's merge_and_unload, and name the result as `base`."
        )
    weights = [name for name in adapters.WEIGHTS if name in place.there][:1]
    if not weights:
        raise InputError(
            f"The adapter {entry.source} has no {adapters.WEIGHTS[0]} (there are: "
            f"{', '.join(sorted(place.there))}): fetch it again or choose another backbone."
        )
    files = {adapters.SETTINGS: settings} | {name: place.fetch(name) for name in weights}
    folder.mkdir()
    for name, file in files.items():
        shutil.copy(file.path, folder / name)
    print(f"{entry.source}: an adapter, merged into {base.source}", file=sys.stderr)
    return files, base


def adapter_folder(backbone: Path) -> Path | None:
    """The adapter in data/backbone that is to be merged into its weights, if there is one."""
    folder = backbone / ADAPTER
    return folder if folder.is_dir() else None


def base_model(backbone: Path) -> tuple[str, str | None]:
    """What the model in data/backbone is called, and its commit if it is one of the hub.

    Raises InputError where nobody could load an adapter of it, as the model is nowhere by itself.
    """
    source = json.loads((backbone / "source.json").read_text(encoding="utf-8"))
    if "base" in source or not source["weights"]:
        what = "an adapter itself" if "base" in source else "drawn by the seed"
        raise InputError(
            f"lora.save_adapter saves an adapter of {source['source']}, whose weights are {what}, "
            f"so that no model is there to put it on: set it to false, or name a whole model with "
            f"weights as `source`."
        )
    return source["source"], source["commit"]


def weights_folder(backbone: Path) -> Path | None:
    """The folder to give to `from_pretrained` for the weights of data/backbone, on this machine.

    None where the backbone has no weights: initialise it from its config. Weights of the hub come
    out of its cache, or again from the hub by the commit and file names that download recorded.
    Those of an adapter are its base model's. Raises InputError where a file is not the one that
    download saw; it is then gone from the cache.
    """
    source = json.loads((backbone / "source.json").read_text(encoding="utf-8"))
    source = source.get("base", source)
    if not source["weights"]:
        return None
    if source["commit"] is None:
        return backbone
    for name in ("config.json", *source["weights"]):
        recorded = source["files"][name]
        path = hub.fetch(source["source"], "model", source["commit"], name, recorded).path
    return path.parent
