"""Which files of a folder or a repository are which split, as `datasets` finds them."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from reward.harness.errors import InputError, first_line
from reward.harness.files import read_foreign_json
from reward.sources.catalogue import Dataset
from reward.sources.places import KINDS, container

STATE = "state.json"  # of a set that `save_to_disk` wrote; names its files
SPLITS = "dataset_dict.json"  # of several in folders; names their splits
# Between two slashes of a pattern, and of `**`: with more, some names would take very long.
MOST_STARS = 3
FAVOURITES = ("parquet", "arrow", "json", "csv")  # where there are as many files of each kind

Files = Collection[str]
PathOf = Callable[[str], Path]


class Layout(NamedTuple):
    """What of a folder or a repository is read."""

    config: str | None
    splits: dict[str, list[str]]
    """From the name of each to its files, in reading order."""
    left_out: list[str]
    """Files of the same configuration that are of another kind than most."""


class _Part(NamedTuple):
    """A configuration: its folder, empty for the whole, and patterns, None for the usual ones."""

    name: str | None
    folder: str
    patterns: Any


def find_layout(entry: Dataset, files: Files, card: Mapping[str, Any], path_of: PathOf) -> Layout:
    """The configuration that an entry names, or the default one, and its splits.

    files: all there are, as paths below the folder or repository. card: the metadata of its
    README.md. path_of: has one of the files on this machine.

    Configurations are those of the card, with their `data_files` and `data_dir`; an entry's own
    `data_files` and `data_dir` take their place. Where neither has patterns, a set of
    `save_to_disk` has the splits that it names, and other files are split by the names of files and
    folders (https://huggingface.co/docs/hub/datasets-file-names-and-splits). Of files of several
    kinds, those of the most frequent one are read.

    Raises InputError naming what there is where the configuration does not exist or none is named,
    where a card cannot be understood, and where no file is of a kind that is read.
    """
    part = _part(entry, card)
    folder = _inside(entry.source, part.folder)
    found = None
    if part.patterns is None:
        found = _saved(entry.source, files, folder, path_of)
    splits = found or _matched(entry.source, files, folder, part.patterns)
    every = list(dict.fromkeys(name for names in splits.values() for name in names))
    if not every:
        where = f" in {part.folder}" if part.folder else ""
        where += f" for its configuration {part.name}" if part.name else ""
        raise InputError(
            f"The dataset {entry.source} has no files of a kind that is read here{where} "
            f"({KINDS}): name others, or convert them."
        )
    counts = Counter(map(container, every))
    kind = max(FAVOURITES, key=lambda one: counts[one])
    read = {
        split: [name for name in names if container(name) == kind]
        for split, names in splits.items()
    }
    return Layout(
        config=part.name,
        splits={split: names for split, names in read.items() if names},
        left_out=[name for name in every if container(name) != kind],
    )


def choose(found: Collection[str], wanted: str | None, key: str, source: str) -> str:
    """The configuration or split that is wanted, or the only one.

    Raises InputError naming what there is where it is not there, or nothing is wanted.
    """
    if wanted is not None and wanted in found:
        return wanted
    if wanted is None and len(found) == 1:
        return next(iter(found))
    problem = f"has no {key} {wanted}" if wanted else f"has several {key}s"
    raise InputError(
        f"The dataset {source} {problem} (there are: {', '.join(found)}): name one of them as "
        f"`{key}` in its entry of params.yaml."
    )


def _part(entry: Dataset, card: Mapping[str, Any]) -> _Part:
    if entry.data_dir is not None or entry.data_files is not None:
        if entry.config is not None:
            raise InputError(
                f"config={entry.config} of the dataset {entry.source} has files of its own: remove "
                f"`config`, or `data_dir` and `data_files`, from its entry in params.yaml."
            )
        return _Part(None, entry.data_dir or "", entry.data_files)
    configs = _configurations(entry.source, card)
    if not configs:
        if entry.config is not None:
            raise InputError(
                f"The dataset {entry.source} has no configurations: remove `config` from its entry "
                f"in params.yaml."
            )
        return _Part(None, "", None)
    default = next(
        (one for one in configs if configs[one].get("default") or one == "default"), None
    )
    name = choose(configs, entry.config or default, "config", entry.source)
    return _Part(name, str(configs[name].get("data_dir") or ""), configs[name].get("data_files"))


def _configurations(source: str, card: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What the card says of each configuration; empty where it has none."""
    configs = card.get("configs")
    if not configs:
        return {}
    from datasets.utils.metadata import MetadataConfigs  # takes a second

    try:
        # Without what it says of the columns: that is not used here, and may be anything.
        keys = ("config_name", "data_dir", "data_files", "default")
        known = [
            {key: one[key] for key in keys if key in one} if isinstance(one, dict) else one
            for one in configs
        ]
        return MetadataConfigs.from_dataset_card_data({"configs": known})
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"The configurations in the README.md of {source} cannot be understood "
            f"({first_line(error)}): name the files as `data_files` in its entry of params.yaml."
        ) from None


def _inside(source: str, path: str) -> str:
    """A folder in a repository as the beginning of its files' names."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts:
        raise InputError(
            f"data_dir={path} is outside of the dataset {source}: name a folder in it."
        )
    return "".join(f"{part}/" for part in parts)


def _saved(source: str, files: Files, folder: str, path_of: PathOf) -> dict[str, list[str]] | None:
    """The splits of what `save_to_disk` wrote, by its own records; None where it is nothing such.

    Beside the files that these name, the folder may hold others, which caches left.
    """
    if not any(name.startswith(folder) and container(name) == "arrow" for name in files):
        return None
    if f"{folder}{SPLITS}" in files:
        splits = _record(source, f"{folder}{SPLITS}", path_of).get("splits")
        names = [str(one) for one in splits] if isinstance(splits, list) else []
        return {name: _saved_files(source, files, f"{folder}{name}/", path_of) for name in names}
    if f"{folder}{STATE}" in files:
        return {"train": _saved_files(source, files, folder, path_of)}
    return None


def _saved_files(source: str, files: Files, folder: str, path_of: PathOf) -> list[str]:
    state = _record(source, f"{folder}{STATE}", path_of) if f"{folder}{STATE}" in files else {}
    names = []
    listed = state.get("_data_files")
    for item in listed if isinstance(listed, list) and listed else [None]:
        match item:
            case {"filename": str(name)} if f"{folder}{name}" in files:
                names.append(f"{folder}{name}")
            case _:
                raise InputError(
                    f"The folder {folder or '.'} of {source} lacks {STATE} or a file that it "
                    f"names: save the dataset again with `save_to_disk`."
                )
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise InputError(
            f"The folder {folder or '.'} of {source} has only some rows of its files, by an index "
            f"of old versions of datasets: save it again with `flatten_indices().save_to_disk`."
        )
    return names


def _record(source: str, name: str, path_of: PathOf) -> dict[str, Any]:
    return read_foreign_json(path_of(name), f"{name} of {source}", "save the dataset again")


def _matched(source: str, files: Files, folder: str, patterns: Any) -> dict[str, list[str]]:
    """The splits by patterns of files below a folder, or by the names of all that are there.

    The library matches patterns with the files of a folder, so it gets one with empty files of
    these names.
    """
    from datasets.data_files import (  # takes a second
        EmptyDatasetError,
        get_data_patterns,
        resolve_pattern,
        sanitize_patterns,
    )

    with TemporaryDirectory() as copy:
        for name in files:
            if name.startswith(folder) and container(name):
                _touch(source, Path(copy, name.removeprefix(folder)))
        try:
            found = get_data_patterns(copy) if patterns is None else sanitize_patterns(patterns)
        except EmptyDatasetError:
            return {}
        except (ValueError, TypeError, AssertionError) as error:
            raise InputError(
                f"The splits of the dataset {source} cannot be told ({first_line(error)}): name "
                f"the files as `data_files` in its entry of params.yaml."
            ) from None
        splits: dict[str, list[str]] = {}
        for split, ones in found.items():
            names = splits.setdefault(str(split), [])
            for pattern in ones:
                try:
                    paths = resolve_pattern(_checked(source, pattern), copy)
                except FileNotFoundError:
                    continue  # this pattern has no file; whether any has shows at the end
                names += [folder + Path(path).relative_to(copy).as_posix() for path in paths]
    # A file that two patterns match is one file.
    return {split: list(dict.fromkeys(names)) for split, names in splits.items() if names}


def _touch(source: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except ValueError:  # a null character, or half of one
        raise InputError(
            f"The dataset {source} has a file {path.name} that no machine can have: choose other "
            f"data."
        ) from None


def _checked(source: str, pattern: Any) -> str:
    """A pattern from a card or an entry. Raises InputError where it is none for files inside."""
    text = str(pattern)
    if text.startswith("/") or ".." in PurePosixPath(text).parts or ":" in text:
        problem = "leads out of it"
    elif max(len(re.findall(r"\*+", part)) for part in text.split("/")) > MOST_STARS:
        problem = f"has more than {MOST_STARS} stars between two slashes"
    elif text.split("/").count("**") > MOST_STARS:
        problem = f"has more than {MOST_STARS} times **"
    else:
        return text
    raise InputError(
        f"The pattern {text} of the dataset {source} {problem}: name the files as `data_files` in "
        f"its entry of params.yaml."
    )
