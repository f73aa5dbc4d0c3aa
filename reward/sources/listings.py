"""What repositories of the hub hold at a commit, kept in the hub's cache beside the files.

Without it nobody could tell offline whether the files of a dataset that are in the cache are all of
them. A list that `hf download` or `snapshot_download` left there serves as well.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from huggingface_hub import constants, get_cached_repo_tree
from huggingface_hub.errors import CachedRepoTreeNotFoundError
from huggingface_hub.file_download import repo_folder_name

from reward.harness.files import replacing

Kind = Literal["dataset", "model"]

COMMIT = re.compile("[0-9a-f]{40}")


class Listing(NamedTuple):
    """A repository's files and card at a commit, which never change."""

    files: Mapping[str, str | None]
    """From the path of each, sorted, to its hash: the SHA-256 of a large file, 64 digits; git's
    SHA-1 of another, 40 digits; None where the hub gave none."""
    card: dict[str, Any] | None
    """The metadata of its card (the YAML at the top of its README.md); None where it must be read
    from there."""


def safe(file: str) -> str:
    """A path as a repository has it. Raises OSError where it leads out of the repository."""
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file:
        raise OSError(f"it lists a file outside of the repository ({file!r})")
    return file


def sorted_listing(files: Mapping[str, str | None], card: dict[str, Any] | None) -> Listing:
    """A listing of paths that are safe. Raises OSError for one that is not."""
    return Listing({safe(file): files[file] for file in sorted(files)}, card)


def keep_listing(
    name: str, kind: Kind, commit: str, revision: str | None, listing: Listing
) -> None:
    """Keep what a repository holds at a commit, and that `revision` (None: the main branch) is that
    commit now; nothing is kept in a cache that cannot be written.
    """
    folder = _folder(name, kind)
    content = listing._asdict()
    with suppress(OSError):
        with replacing(folder / "listings" / f"{commit}.json") as partial:
            record = {"sha256": _digest(content), **content}
            partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
        # The place where the client keeps what a revision was when it was last seen.
        if revision != commit:
            with replacing(folder / "refs" / safe(revision or "main")) as partial:
                partial.write_text(commit, encoding="utf-8")


def kept_commit(name: str, kind: Kind, revision: str | None) -> str | None:
    """The commit that a revision is by itself or was when it was last seen; else None."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    try:
        commit = (
            (_folder(name, kind) / "refs" / safe(revision or "main")).read_text("utf-8").strip()
        )
    except (OSError, UnicodeDecodeError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def kept_listing(name: str, kind: Kind, commit: str) -> Listing | None:
    """What was kept of a repository at a commit; None where that is nothing, or damaged."""
    try:
        record = json.loads(_listing_file(name, kind, commit).read_text(encoding="utf-8"))
        digest = record.pop("sha256")
        if digest == _digest(record):
            return Listing(**record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # there is none, or it is damaged: the hub can be asked again
    try:
        tree = get_cached_repo_tree(name, repo_type=kind, revision=commit)
    except CachedRepoTreeNotFoundError:
        return None
    # Its hashes do not say whether they are of a file or of the pointer to one.
    return sorted_listing(dict.fromkeys(file.path for file in tree), None)


def forget_listing(name: str, kind: Kind, commit: str) -> None:
    """Have the hub asked again what a repository holds at a commit."""
    _listing_file(name, kind, commit).unlink(missing_ok=True)


def _folder(name: str, kind: Kind) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)


def _listing_file(name: str, kind: Kind, commit: str) -> Path:
    return _folder(name, kind) / "listings" / f"{commit}.json"


def _digest(content: dict[str, Any]) -> str:
    # A damaged name would otherwise be a file of the dataset that is missing and not missed.
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
