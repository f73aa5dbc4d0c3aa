"""Repositories of the Hugging Face hub: a revision made a commit, files fetched by that commit.

Nothing here runs code from a repository. Every failure is an InputError of one sentence, and every
request has a time limit (HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT, 10 s by default, with
five retries while a file comes in), so a hub that stops answering ends the run.

A file is taken only if its bytes have the hash that the hub gives for it. Where all that is needed
is in the hub's cache, a full commit and HF_HUB_OFFLINE=1 do without any request.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2
import yaml
from huggingface_hub import (
    DatasetInfo,
    HfApi,
    ModelInfo,
    constants,
    hf_hub_download,
    metadata_load,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import tqdm

from reward.harness.errors import InputError, first_line
from reward.sources.blobs import entity_tag, hashes, remove
from reward.sources.listings import (
    COMMIT,
    Kind,
    Listing,
    forget_listing,
    keep_listing,
    kept_commit,
    kept_listing,
    sorted_listing,
)

BUSY = (429, 500, 502, 503, 504)
WAITS = (1, 2, 4, 8, 8)  # seconds, unless the answer names a time; as the client does for files
LONGEST_WAIT = 300

T = TypeVar("T")


class Fetched(NamedTuple):
    """A file of a repository, in the hub's cache on this machine."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Repository:
    """A repository at one commit: what it is called, what it holds."""

    name: str
    kind: Kind
    commit: str
    files: Mapping[str, str | None]
    """From paths in the repository, sorted, to the hash that the hub gives (`Listing.files`)."""
    card: dict[str, Any]
    """The metadata of its card (the YAML at the top of its README.md)."""

    def fetch(self, file: str) -> Fetched:
        """The file in the hub's cache on this machine, downloaded if it is not there."""
        return fetch(self.name, self.kind, self.commit, file, self.files[file])


def resolve(name: str, kind: Kind, revision: str | None) -> Repository:
    """The commit that `revision` (None: the main branch) of a repository is now, and its files.

    The hub is asked, unless `revision` is a full commit whose files are known in the hub's cache.
    Offline it is the commit that the hub last gave for it on this machine.
    """
    offline = constants.is_offline_mode()
    if offline or (revision and COMMIT.fullmatch(revision)):
        commit = kept_commit(name, kind, revision)
        with _one_sentence(name, kind, revision):
            listing = kept_listing(name, kind, commit) if commit else None
        if commit and listing:
            return _repository(name, kind, commit, listing)
    if offline:
        raise InputError(
            f"{_offline_by()} is set, and the hub's cache on this machine "
            f"({constants.HF_HUB_CACHE}) does not know what the {kind} {name} holds at its "
            f"revision {revision or 'main'}: unset {_offline_by()} for one run, which keeps it."
        )
    with _one_sentence(name, kind, revision):
        info = _patiently(lambda: _ask(name, kind, revision))
        if info.sha is None or info.siblings is None or not COMMIT.fullmatch(info.sha):
            raise OSError(f"its answer names no commit (sha: {info.sha!r})")
        files = {one.rfilename: one.lfs.sha256 if one.lfs else one.blob_id for one in info.siblings}
        listing = sorted_listing(files, info.card_data.to_dict() if info.card_data else {})
    keep_listing(name, kind, info.sha, revision, listing)
    return _repository(name, kind, info.sha, listing)


def _ask(name: str, kind: Kind, revision: str | None) -> DatasetInfo | ModelInfo:
    api = HfApi()
    ask = api.dataset_info if kind == "dataset" else api.model_info
    try:
        # files_metadata: with the files' hashes.
        return ask(
            name, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
    except (json.JSONDecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        raise OSError("its answer is not that of a hub") from None


def _repository(name: str, kind: Kind, commit: str, listing: Listing) -> Repository:
    card = listing.card
    if card is None:
        card = {}
        if kind == "dataset" and "README.md" in listing.files:
            readme = fetch(name, kind, commit, "README.md", listing.files["README.md"]).path
            with _one_sentence(name, kind, commit):
                card = metadata_load(readme) or {}
    return Repository(name, kind, commit, listing.files, card)


def fetch(name: str, kind: Kind, commit: str, file: str, expected: str | None) -> Fetched:
    """One file of a repository at a commit, from the hub's cache or else from the hub.

    expected: its SHA-256 (64 hexadecimal digits) or git's SHA-1 of it (40); with None it is the one
    that the hub gave when the file was downloaded, if it did. A file with another is removed.
    """
    with _one_sentence(name, kind, commit):
        try:
            # The client would ask the hub for something else although the file is in its cache.
            cached = try_to_load_from_cache(name, file, revision=commit, repo_type=kind)
            if not isinstance(cached, str):
                cached = hf_hub_download(
                    name, file, repo_type=kind, revision=commit, tqdm_class=_OnlyForward
                )
        except LocalEntryNotFoundError:
            if not constants.is_offline_mode():
                raise
            raise InputError(
                f"{_offline_by()} is set, and {file} of the {kind} {name} at {commit} is not in "
                f"the hub's cache on this machine ({constants.HF_HUB_CACHE}): unset "
                f"{_offline_by()} for one run, which fetches it."
            ) from None
        path = Path(cached)
        expected = expected or entity_tag(path)
        sha256, git = hashes(path, git=bool(expected and COMMIT.fullmatch(expected)))
        found = git or sha256
        if expected and found != expected:
            forget_listing(name, kind, commit)
            remove(path)
            raise InputError(
                f"{file} of the {kind} {name} at {commit} has the hash {found} in place of "
                f"{expected}: it was damaged in the hub's cache or on its way there and is now "
                f"removed; run again to fetch it again."
            )
    return Fetched(path, sha256)


def _patiently(ask: Callable[[], T]) -> T:
    """The answer of a hub that may be busy, or be starting again: it is asked a few times."""
    for seconds in WAITS:
        try:
            return ask()
        except HfHubHTTPError as error:
            if error.response.status_code not in BUSY:
                raise
            named = error.response.headers.get("Retry-After", "")
            seconds = int(named) if named.isdecimal() else seconds
            if seconds > LONGEST_WAIT:
                raise OSError(f"it is busy and asks to come back in {seconds} seconds") from None
            why = error.response.status_code
            print(f"the hub answers {why}; asked again in {seconds} s", file=sys.stderr)
            time.sleep(seconds)
    return ask()


def _offline_by() -> str:
    """The variable that keeps the client from asking the hub."""
    return "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"


class _OnlyForward(tqdm):
    """Ends a download that would start again from nothing, for it might do so for ever."""

    def update(self, n: float | None = 1) -> bool | None:
        if n is not None and n < 0:
            raise OSError("it broke off in the middle of a file and cannot resume")
        return super().update(n)


@contextmanager
def _one_sentence(name: str, kind: Kind, revision: str | None) -> Iterator[None]:
    endpoint = constants.ENDPOINT
    try:
        yield
    except GatedRepoError:
        raise InputError(
            f"The {kind} repository {name} on {endpoint} is gated: accept its conditions there and "
            f"log in with `hf auth login`."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise InputError(
            f"{name} is neither a path on this machine nor a {kind} repository that {endpoint} "
            f"shows: correct `source` in params.yaml, or log in with `hf auth login` if it is "
            f"private."
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"The {kind} repository {name} has no revision {revision}: name a branch, tag or "
            f"commit of it as `revision` in params.yaml."
        ) from None
    except (
        EntryNotFoundError,
        HfHubHTTPError,
        XetDownloadError,
        httpx2.HTTPError,
        yaml.YAMLError,
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise InputError(
                f"The hub at {endpoint} does not let you have the {kind} {name} "
                f"(status {error.response.status_code}): log in as somebody who may, with "
                f"`hf auth login`."
            ) from None
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise InputError(
                f"The hub's cache on this machine cannot be read or written ({error.strerror}: "
                f"{error.filename}): make room, or set HF_HOME to another folder."
            ) from None
        raise InputError(
            f"The hub at {endpoint} did not deliver the {kind} {name} ({_reason(error)}): "
            f"check the connection and HF_ENDPOINT and run again, or choose a `source` on this "
            f"machine."
        ) from None


def _reason(error: Exception) -> str:
    """What went wrong: the client wraps the errors of the connection, and some have no text."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return first_line(cause) or type(cause).__name__
