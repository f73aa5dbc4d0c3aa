"""Where pairs come from: files on this machine or a dataset repository of the hub."""

import os
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from huggingface_hub import metadata_load

from reward.harness.errors import InputError, first_line, printable
from reward.sources import hub
from reward.sources.catalogue import Dataset
from reward.sources.layouts import Layout, choose, find_layout
from reward.sources.places import is_path, is_pattern

# What the numbered files of a split are called: train-00000-of-00002.parquet.
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\b")
NAMED = 5  # files of a split that are named on stderr


@dataclass(frozen=True)
class Source:
    """The files of one dataset, all on this machine."""

    files: dict[str, Path]
    """From the name in the source to the place on this machine, in reading order."""
    hashes: dict[str, str]
    """The SHA-256 of each file, where it is known already: it is for those of the hub."""
    config: str | None
    split: str | None
    commit: str | None
    """None for a source that is no hub repository."""


def open_dataset(entry: Dataset) -> Source:
    """Find the files of a dataset and have them on this machine.

    Which of a folder or a repository are read is printed where there are several
    (reward.sources.layouts says how they are found).

    Raises InputError naming what there is where the file, repository, revision, configuration or
    split does not exist, and where a split that the entry names no files of has numbered files and
    some numbers are missing.
    """
    if not is_path(entry.source):
        return _hub(entry)
    return _folder(entry) if Path(entry.source).is_dir() else _files(entry)


def _hub(entry: Dataset) -> Source:
    repository = hub.resolve(entry.source, "dataset", entry.revision)
    layout = find_layout(
        entry, repository.files, repository.card, lambda name: repository.fetch(name).path
    )
    split = _chosen(entry, layout)
    fetched = {name: repository.fetch(name) for name in layout.splits[split]}
    return Source(
        files={name: file.path for name, file in fetched.items()},
        hashes={name: file.sha256 for name, file in fetched.items()},
        config=layout.config,
        split=split,
        commit=repository.commit,
    )


def _folder(entry: Dataset) -> Source:
    """A folder is read as a repository with the same files would be."""
    _refuse(entry, ("revision",), "a folder")
    folder = Path(entry.source)
    layout = find_layout(entry, _below(folder), _card(folder), lambda name: folder / name)
    split = _chosen(entry, layout)
    files = {name: folder / name for name in layout.splits[split]}
    return Source(files=files, hashes={}, config=layout.config, split=split, commit=None)


def _below(folder: Path) -> list[str]:
    """The files in a folder and in those below it, sorted; none that is hidden."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        path = Path(place).relative_to(folder)
        found += [(path / name).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def _card(folder: Path) -> dict[str, Any]:
    """The metadata of a folder's README.md, as the hub gives it for a repository."""
    readme = folder / "README.md"
    try:
        return (metadata_load(readme) or {}) if readme.is_file() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            f"The metadata at the top of {readme} cannot be read ({first_line(error)}): correct it "
            f"or remove that file."
        ) from None


def _check_numbers(source: str, names: Collection[str]) -> None:
    """Raises InputError where files are numbered and there are fewer than their names say."""
    numbers: dict[tuple[str, str], set[str]] = {}
    for name in names:
        if shard := SHARD.match(name):
            numbers.setdefault((shard[1], shard[3]), set()).add(shard[2])
    for (name, count), there in numbers.items():
        if len(there) < int(count):
            raise InputError(
                f"The dataset {source} has only {len(there)} of the {int(count)} files "
                f"{name}-*-of-{count}: add the others, or name those that are to be read as "
                f"`data_files` in its entry of params.yaml."
            )


def _chosen(entry: Dataset, layout: Layout) -> str:
    """The split that is read; what was chosen among several files is told."""
    split = choose(layout.splits, entry.split, "split", entry.source)
    names = layout.splits[split]
    if entry.data_files is None:
        _check_numbers(entry.source, names)
    if len(names) > 1 or layout.config or layout.left_out:
        config = f"configuration {layout.config}, " if layout.config else ""
        folders = {PurePosixPath(name).parent for name in names}
        hint = f" (of {len(folders)} folders; `data_dir` names one)" if len(folders) > 1 else ""
        line = f"{entry.source}: {config}split {split}, {_some(names)}{hint}"
        if layout.left_out:
            line += f"; not read, as most are of another kind: {_some(layout.left_out)}"
        print(printable(line), file=sys.stderr)
    return split


def _some(names: list[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    files = "1 file" if len(names) == 1 else f"{len(names):,} files"
    return f"{files}: {', '.join(names[:NAMED])}{more}"


def _files(entry: Dataset) -> Source:
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
    _refuse(entry, ("config", "split", "data_dir", "data_files", "revision"), kind)
    return Source(files=found, hashes={}, config=None, split=None, commit=None)


def _refuse(entry: Dataset, keys: tuple[str, ...], kind: str) -> None:
    places = "hub repositories" if keys == ("revision",) else "hub repositories and folders"
    for key, value in entry.model_dump(include={*keys}).items():
        if value is not None:
            raise InputError(
                f"{key}={value} is for {places}, and {entry.source} is {kind}: remove `{key}` from "
                f"its entry in params.yaml."
            )


def _matching(pattern: Path) -> Iterator[Path]:
    anchor = Path(pattern.anchor)  # glob takes patterns that are relative
    return anchor.glob(str(pattern.relative_to(anchor)))
