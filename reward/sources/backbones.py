"""A backbone: config, tokenizer and weights, from a folder on this machine or from the hub.

data/backbone holds config.json, the tokenizer with its chat template and source.json, and a local
backbone's weights. A hub backbone's weights stay in the hub's cache, named here by commit and hash.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from reward.harness.errors import InputError, first_line
from reward.harness.files import sha256, write_json
from reward.harness.params import Params
from reward.sources import hub
from reward.sources.places import is_path
from reward.sources.usable import check_config, check_tokenizer

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
# What a tokenizer without tokenizer.json is converted from: a vocabulary and what may go with it.
VOCABULARY = (
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
BESIDE_VOCABULARY = ("merges.txt", "added_tokens.json")
# In the order of preference: safetensors hold tensors only, a .bin is a pickle.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class Lora(Params):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) instead of full fine-tuning."""

    rank: int = Field(gt=0)
    alpha: int = Field(gt=0)
    """Updates are scaled by alpha / rank."""
    targets: Literal["all-linear"] | list[str]
    """The layers that get an adapter, by the end of their names."""


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
    layers: Literal["all"] | PositiveInt = "all"
    """How many of its layers there are in the reward model, from the first."""
    trained_layers: Literal["all"] | NonNegativeInt = "all"
    """How many of these are trained, from the last; 0 trains the head alone. With lora, the others
    get no adapters."""


def fetch_backbone(entry: Backbone, folder: Path) -> list[str]:
    """Fill `folder` (data/backbone) from a catalogue entry; returns the names of its weight files.

    Raises InputError where the source does not exist, lacks a config or a usable tokenizer, or is
    of a kind of which no reward model is made. Weights, which may be large, are fetched last.
    """
    local = is_path(entry.source)
    commit, there, fetch = _local(entry) if local else _hub(entry)
    files = _config_and_tokenizer(entry.source, there, fetch, folder)
    weights = _weights(entry.source, there, fetch)
    if local:
        for file in weights.values():
            shutil.copy(file.path, folder)
    write_json(
        folder / "source.json",
        {
            "source": entry.source,
            "revision": entry.revision,
            "commit": commit,
            "files": {name: file.sha256 for name, file in sorted((files | weights).items())},
            "weights": sorted(weights),
        },
    )
    return sorted(weights)


def weights_folder(backbone: Path) -> Path | None:
    """The folder to give to `from_pretrained` for the weights of data/backbone, on this machine.

    None where the backbone has no weights: initialise it from its config. Weights of the hub come
    out of its cache, or again from the hub by the commit and file names that download recorded.
    Raises InputError where a file is not the one that download saw; it is then gone from the cache.
    """
    source = json.loads((backbone / "source.json").read_text(encoding="utf-8"))
    if not source["weights"]:
        return None
    if source["commit"] is None:
        return backbone
    for name in ("config.json", *source["weights"]):
        recorded = source["files"][name]
        path = hub.fetch(source["source"], "model", source["commit"], name, recorded).path
    return path.parent


Fetch = Callable[[str], hub.Fetched]
Located = tuple[str | None, Collection[str], Fetch]


def _local(entry: Backbone) -> Located:
    folder = Path(entry.source)
    if not folder.is_dir():
        raise InputError(
            f"The backbone {entry.source} is not a folder on this machine: correct `source` in "
            f"params.yaml or put the folder there."
        )
    if entry.revision is not None:
        raise InputError(
            f"revision={entry.revision} is for hub repositories, and {entry.source} is a folder: "
            f"remove `revision` from its entry in params.yaml."
        )
    there = {path.name for path in folder.iterdir() if path.is_file()}
    return None, there, lambda name: hub.Fetched(folder / name, sha256(folder / name))


def _hub(entry: Backbone) -> Located:
    repository = hub.resolve(entry.source, "model", entry.revision)
    return repository.commit, repository.files, repository.fetch


def _config_and_tokenizer(
    source: str, there: Collection[str], fetch: Fetch, folder: Path
) -> dict[str, hub.Fetched]:
    """Write both to `folder`; returns the files of the source that they were made of."""
    if "config.json" not in there:
        raise InputError(
            f"The backbone {source} has no config.json (there are: "
            f"{', '.join(sorted(there)) or 'no files'}): choose a transformers model as "
            f"its `source`."
        )
    check_config(source, fetch("config.json").path, has_weights=bool({*WEIGHTS} & {*there}))
    files = {name: fetch(name) for name in ("config.json", *TOKENIZER) if name in there}
    shutil.copy(files["config.json"].path, folder)
    if {"tokenizer.json", "tokenizer_config.json"} <= files.keys():
        for name in files.keys() & set(TOKENIZER):
            shutil.copy(files[name].path, folder)
    else:
        # Without any of these, transformers would silently make an empty tokenizer.
        if not {"tokenizer.json", *VOCABULARY} & set(there):
            raise InputError(
                f"The backbone {source} has no tokenizer (no tokenizer.json, "
                f"{', '.join(VOCABULARY)}): choose a backbone with one."
            )
        slow = (*VOCABULARY, *BESIDE_VOCABULARY)
        files |= {name: fetch(name) for name in slow if name in there}
        _convert_tokenizer(source, files, folder)
    check_tokenizer(source, folder)
    return files


def _convert_tokenizer(source: str, files: dict[str, hub.Fetched], folder: Path) -> None:
    from transformers import AutoTokenizer  # takes seconds, and most backbones need no conversion

    with tempfile.TemporaryDirectory() as temporary:
        for name, file in files.items():
            shutil.copy(file.path, Path(temporary) / name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                temporary, trust_remote_code=False, local_files_only=True
            )
        except Exception as error:  # whatever foreign files lead to
            reason = first_line(error)
            raise InputError(
                f"The tokenizer of {source} cannot be converted ({reason}): choose a backbone "
                f"with a tokenizer.json."
            ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"The tokenizer of {source} has no fast version: choose a backbone with a "
            f"tokenizer.json."
        )
    tokenizer.save_pretrained(folder)


def _weights(source: str, there: Collection[str], fetch: Fetch) -> dict[str, hub.Fetched]:
    first = next((name for name in WEIGHTS if name in there), None)
    if first is None:
        return {}
    weights = {first: fetch(first)}
    if first.endswith(".index.json"):
        shards = _shards(source, first, weights[first].path)
        if missing := sorted(shards - set(there)):
            raise InputError(
                f"The backbone {source} lacks {', '.join(missing)}, which its {first} names: "
                f"fetch it again or choose another."
            )
        weights |= {name: fetch(name) for name in sorted(shards)}
    return weights


def _shards(source: str, index: str, path: Path) -> set[str]:
    try:
        index_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return {str(name) for name in index_map.values()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            f"{index} of the backbone {source} is not an index of weight files: fetch it again or "
            f"choose another."
        ) from None
