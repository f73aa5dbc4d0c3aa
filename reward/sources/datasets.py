"""Where pairs come from: files on this machine or a dataset repository of the hub."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from reward.harness.errors import InputError
from reward.sources import hub
from reward.sources.catalogue import Dataset
from reward.sources.places import SUFFIXES, is_path, is_pattern

KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
SHARDED = re.compile(r"data/(?P<split>.+)-\d{5}-of-\d{5}[^/]*")


@dataclass(frozen=True)
class Source:
    """The files of one dataset, all on this machine."""

    files: dict[str, Path]
    """From the name in the source to the place on this machine, in reading order."""
    hashes: dict[str, str]
    """The SHA-256 of each file, where it is known already: it is for those of the hub."""
    split: str | None
    commit: str | None
    """None for a source that is no hub repository."""


def open_dataset(entry: Dataset) -> Source:
    """Find the files of a dataset and have them on this machine.

    Raises InputError naming what there is where the file, repository, revision, configuration or
    split does not exist.
    """
    if is_path(entry.source):
        return _local(entry)
    repository = hub.resolve(entry.source, "dataset", entry.revision)
    splits = _splits(repository, entry.config)
    split = _choose(splits, entry.split, "split", entry.source)
    fetched = {name: repository.fetch(name) for name in splits[split]}
    return Source(
        files={name: file.path for name, file in fetched.items()},
        hashes={name: file.sha256 for name, file in fetched.items()},
        split=split,
        commit=repository.commit,
    )


def _local(entry: Dataset) -> Source:
    if is_pattern(entry.source):
        # Sorted: the order must not come from the file system.
        found = {path.as_posix(): path for path in sorted(_matching(Path(entry.source)))}
        kind = "a pattern of files"
    else:
        path = Path(entry.source)
        found = {path.name: path}
        kind = "a file"
    if not found or not all(path.is_file() for path in found.values()):
        raise InputError(
            f"The dataset {entry.source} is not {kind} on this machine: correct `source` in "
            f"params.yaml or put the data there."
        )
    for key, value in (
        ("config", entry.config),
        ("split", entry.split),
        ("revision", entry.revision),
    ):
        if value is not None:
            raise InputError(
                f"{key}={value} is for hub repositories, and {entry.source} is {kind}: remove "
                f"`{key}` from its entry in params.yaml."
            )
    return Source(files=found, hashes={}, split=None, commit=None)


def _matching(pattern: Path) -> Iterator[Path]:
    anchor = Path(pattern.anchor)  # glob takes patterns that are relative
    return anchor.glob(str(pattern.relative_to(anchor)))


def _splits(repository: hub.Repository, config: str | None) -> dict[str, list[str]]:
    """The data files of each split, by the conventions of `datasets`: the card's `configs`, else
    data/SPLIT-00000-of-00001.*, else split names in folder or file names, else all is `train`.
    """
    data = [name for name in repository.files if _is_data(name)]
    configs = _configs(repository)
    if configs:
        config = _choose(configs, config or _default(repository), "config", repository.name)
        splits = {
            split: [name for name in data if _matches(name, patterns)]
            for split, patterns in configs[config].items()
        }
    elif config is not None:
        raise InputError(
            f"The dataset {repository.name} has no configurations: remove `config` from its entry "
            f"in params.yaml."
        )
    else:
        splits = _by_name(data)
    splits = {split: names for split, names in splits.items() if names}
    if not splits:
        raise InputError(
            f"The dataset {repository.name} has no files of a kind that is read here "
            f"({', '.join(SUFFIXES)}): convert it to a file on this machine."
        )
    return splits


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    about = path.name in ("config.json", "dataset_info.json", "dataset_infos.json")
    return name.lower().endswith(SUFFIXES) and not hidden and not about


def _by_name(data: list[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name in data:
        if found := SHARDED.fullmatch(name):
            splits.setdefault(found["split"], []).append(name)
    for part in (_folder_words, _file_words):
        if not splits:
            for split, keywords in KEYWORDS.items():
                splits[split] = [name for name in data if part(name) & set(keywords)]
            splits = {split: names for split, names in splits.items() if names}
    return splits or {"train": data}


def _folder_words(name: str) -> set[str]:
    return {word for part in PurePosixPath(name).parts[:-1] for word in _words(part)}


def _file_words(name: str) -> set[str]:
    return set(_words(PurePosixPath(name).name))


def _words(part: str) -> list[str]:
    return re.split(r"[-._ 0-9]+", part)


def _configs(repository: hub.Repository) -> dict[str, dict[str, list[str]]]:
    """{configuration: {split: patterns}} of the card; empty where it has none."""
    configs = {}
    for entry in repository.card.get("configs") or []:
        match entry:
            case {"config_name": str(name), "data_files": files}:
                configs[name] = _patterns(files)
    return configs


def _default(repository: hub.Repository) -> str | None:
    for entry in repository.card.get("configs") or []:
        match entry:
            case {"config_name": str(name), "default": True} | {"config_name": "default" as name}:
                return name
    return None


def _patterns(files: Any) -> dict[str, list[str]]:
    match files:
        case dict():
            found = files
        case [{"split": _}, *_]:
            found = {item["split"]: item["path"] for item in files if {"split", "path"} <= {*item}}
        case _:
            found = {"train": files}
    return {
        str(split): [str(path) for path in (paths if isinstance(paths, list) else [paths])]
        for split, paths in found.items()
    }


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern.removeprefix("./")) for pattern in patterns)


def _choose(found: dict[str, Any], wanted: str | None, key: str, source: str) -> str:
    if wanted in found:
        return wanted
    if wanted is None and len(found) == 1:
        return next(iter(found))
    problem = f"has no {key} {wanted}" if wanted else f"has several {key}s"
    raise InputError(
        f"The dataset {source} {problem} (there are: {', '.join(found)}): name one of them as "
        f"`{key}` in its entry of params.yaml."
    )
