"""Repositories of the Hugging Face hub: a revision made a commit, files fetched by that commit.

Nothing here runs code from a repository. Every failure is an InputError of one sentence, and every
request has a time limit (HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT, 10 s by default, with
five retries while a file comes in), so a hub that stops answering ends the run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.utils import tqdm

from reward.harness.errors import InputError, first_line

Kind = Literal["dataset", "model"]


@dataclass(frozen=True)
class Repository:
    """A repository at one commit: what it is called, what it holds."""

    name: str
    kind: Kind
    commit: str
    files: tuple[str, ...]
    """Paths in the repository, sorted."""
    card: dict[str, Any]
    """The metadata of its card (the YAML at the top of its README.md)."""

    def fetch(self, file: str) -> Path:
        """The file in the hub's cache on this machine, downloaded if it is not there."""
        return fetch(self.name, self.kind, self.commit, file)


def resolve(name: str, kind: Kind, revision: str | None) -> Repository:
    """Ask the hub which commit `revision` (None: the main branch) of a repository is now."""
    with _one_sentence(name, kind, revision):
        ask = HfApi().dataset_info if kind == "dataset" else HfApi().model_info
        info = ask(name, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        if info.sha is None or info.siblings is None:
            raise OSError("its answer names no commit")
        return Repository(
            name=name,
            kind=kind,
            commit=info.sha,
            files=tuple(sorted(_safe(sibling.rfilename) for sibling in info.siblings)),
            card=info.card_data.to_dict() if info.card_data else {},
        )


def fetch(name: str, kind: Kind, commit: str, file: str) -> Path:
    """One file of a repository at a commit, from the hub's cache or else from the hub."""
    with _one_sentence(name, kind, commit):
        return Path(
            hf_hub_download(name, file, repo_type=kind, revision=commit, tqdm_class=_OnlyForward)
        )


class _OnlyForward(tqdm):
    """Ends a download that would start again from nothing, for it might do so for ever."""

    def update(self, n: float | None = 1) -> bool | None:
        if n is not None and n < 0:
            raise OSError("it broke off in the middle of a file and cannot resume")
        return super().update(n)


def _safe(file: str) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\\" in file:
        raise OSError(f"it lists a file outside of the repository ({file!r})")
    return file


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
        OSError,
        ValueError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise InputError(
                f"The hub's cache on this machine cannot be written ({error.strerror}: "
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
