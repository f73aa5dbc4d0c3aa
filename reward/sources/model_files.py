"""The files of a model on this machine or on the hub: which are taken, and how they are had."""

import json
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from reward.harness.errors import InputError, first_line
from reward.harness.files import sha256
from reward.sources import hub
from reward.sources.places import is_path

CONFIG = "config.json"
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
    "spm.model",
)
BESIDE_VOCABULARY = ("merges.txt", "added_tokens.json")
# In the order of preference: safetensors hold tensors only, a .bin is a pickle.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class Place(NamedTuple):
    """A folder or repository of a model, and how its files are had."""

    source: str
    revision: str | None
    commit: str | None
    """Of the hub; None for a folder on this machine."""
    there: Collection[str]
    fetch: Callable[[str], hub.Fetched]

    def record(self, files: dict[str, hub.Fetched], weights: Collection[str]) -> dict[str, Any]:
        """What source.json says of it."""
        return {
            "source": self.source,
            "revision": self.revision,
            "commit": self.commit,
            "files": {name: file.sha256 for name, file in sorted(files.items())},
            "weights": sorted(weights),
        }


def place_of(source: str, revision: str | None) -> Place:
    """Where a model is; raises InputError where it is nowhere."""
    return local_place(source, revision) if is_path(source) else hub_place(source, revision)


def local_place(source: str, revision: str | None) -> Place:
    """A folder on this machine."""
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(
            f"The backbone {source} is not a folder on this machine: correct `source` in "
            f"params.yaml or put the folder there."
        )
    if revision is not None:
        raise InputError(
            f"revision={revision} is for hub repositories, and {source} is a folder: "
            f"remove `revision` from its entry in params.yaml."
        )
    there = {path.name for path in folder.iterdir() if path.is_file()}
    return Place(
        source, None, None, there, lambda name: hub.Fetched(folder / name, sha256(folder / name))
    )


def hub_place(source: str, revision: str | None) -> Place:
    """A repository of the hub."""
    repository = hub.resolve(source, "model", revision)
    return Place(source, revision, repository.commit, repository.files, repository.fetch)


def has_tokenizer(there: Collection[str]) -> bool:
    """Whether a tokenizer can be made of files of these names."""
    return bool({"tokenizer.json", *VOCABULARY} & {*there})


def write_tokenizer(place: Place, config: hub.Fetched, folder: Path) -> dict[str, hub.Fetched]:
    """Write a tokenizer to `folder`; returns the files that it was made of.

    config: the model's config.json. Raises InputError where there is none or it has no fast form.
    """
    source, there = place.source, place.there
    files = {name: place.fetch(name) for name in TOKENIZER if name in there}
    if {"tokenizer.json", "tokenizer_config.json"} <= files.keys():
        for file in files.values():
            shutil.copy(file.path, folder)
        return files
    # Without any of these, transformers would silently make an empty tokenizer.
    if not has_tokenizer(there):
        raise InputError(
            f"The backbone {source} has no tokenizer (no tokenizer.json, "
            f"{', '.join(VOCABULARY)}): choose a backbone with one."
        )
    slow = (*VOCABULARY, *BESIDE_VOCABULARY)
    files |= {name: place.fetch(name) for name in slow if name in there}
    _convert_tokenizer(source, files | {CONFIG: config}, folder)
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


def fetch_weights(place: Place) -> dict[str, hub.Fetched]:
    """The weights of a model, all shards of them; none where it has none.

    Raises InputError where shards are missing.
    """
    source, there = place.source, place.there
    first = next((name for name in WEIGHTS if name in there), None)
    if first is None:
        return {}
    weights = {first: place.fetch(first)}
    if first.endswith(".index.json"):
        shards = _shards(source, first, weights[first].path)
        if missing := sorted(shards - set(there)):
            raise InputError(
                f"The backbone {source} lacks {', '.join(missing)}, which its {first} names: "
                f"fetch it again or choose another."
            )
        weights |= {name: place.fetch(name) for name in sorted(shards)}
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
