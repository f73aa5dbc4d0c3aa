"""A file whose bytes are not those that the hub's hash stands for is not taken."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.loopback_hub import Hub
from tests.support.workplace import DATASET, MODEL, Workplace, digest

SHARD = "data/average_rating-00001-of-00002.parquet"  # in LFS: SHA-256
CONFIG = "config.json"  # not in LFS: git's SHA-1


def flipped(content: bytes) -> bytes:
    """The content with one bit flipped in the middle."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def cached(place: Workplace, file: str) -> Path:
    """The content of a file of a repository in the hub's cache."""
    return next((place.folder / "cache/hub").rglob(file)).resolve()


@pytest.mark.parametrize(
    ("repository", "file"), [(f"datasets/{DATASET}", SHARD), (f"models/{MODEL}", CONFIG)]
)
@pytest.mark.parametrize("where", ["in the answer about the repository", "in the tag alone"])
def test_bytes_flipped_on_the_way(
    place: Workplace, hub: Hub, repository: str, file: str, where: str
) -> None:
    there = hub.repositories[repository]
    there.lists_hashes = where != "in the tag alone"
    there.served[file] = flipped(there.files[file])
    sentence = place.fail()
    assert f"{file} of the " in sentence
    assert "is now removed; run again" in sentence
    kept = [path for path in (place.folder / "cache/hub").rglob("*") if path.is_file()]
    assert kept
    assert there.served[file] not in [path.read_bytes() for path in kept]
    there.served.clear()
    place.succeed()


@pytest.mark.parametrize(
    ("file", "output"), [(SHARD, "raw"), (CONFIG, "backbone"), ("model.safetensors", "backbone")]
)
@pytest.mark.parametrize("offline", [False, True])
def test_bytes_flipped_in_the_cache(
    place: Workplace, hub: Hub, file: str, output: str, offline: bool
) -> None:
    place.succeed()
    right = place.source(output)
    shutil.rmtree(place.folder / "data")
    blob = cached(place, file)
    content, times = blob.read_bytes(), blob.stat()
    blob.write_bytes(flipped(content))
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    if offline:
        place.environment["HF_HUB_OFFLINE"] = "1"
    assert "was damaged in the hub's cache or on its way there" in place.fail()
    assert not blob.exists()
    if offline:
        assert "unset HF_HUB_OFFLINE for one run" in place.fail()
        del place.environment["HF_HUB_OFFLINE"]
    place.succeed()
    assert place.source(output) == right
    assert cached(place, file).read_bytes() == content


def test_content_that_several_repositories_share_is_removed_with_its_links(
    place: Workplace, hub: Hub
) -> None:
    """The client can keep a blob once for all repositories, which then have a link to it."""
    place.succeed()
    blob = cached(place, SHARD)
    shared = place.folder / "cache/hub/blobs/ab"
    shared.mkdir(parents=True)
    content = blob.read_bytes()
    (shared / "abcd").write_bytes(flipped(content))
    blob.unlink()
    blob.symlink_to(os.path.relpath(shared / "abcd", blob.parent))
    shutil.rmtree(place.folder / "data")
    assert "is now removed" in place.fail()
    assert not (shared / "abcd").exists()
    assert not blob.is_symlink()
    place.succeed()
    assert cached(place, SHARD).read_bytes() == content


def test_a_hub_that_gives_no_hash_is_believed(place: Workplace, hub: Hub) -> None:
    for repository in hub.repositories.values():
        repository.names_hashes = False
    place.succeed()
    assert place.source("backbone")["files"]["model.safetensors"] == digest(b"weights")


@pytest.mark.parametrize("sha", ["main", "../../../../tmp/x", "0" * 39, "G" * 40, ""])
def test_a_commit_that_is_no_hash_is_refused(place: Workplace, hub: Hub, sha: str) -> None:
    hub.repositories[f"datasets/{DATASET}"].sha = sha
    assert f"its answer names no commit (sha: {sha!r})" in place.fail()


def test_a_list_of_files_that_was_damaged_is_not_used(place: Workplace, hub: Hub) -> None:
    """A flipped letter in a name would be a shard that nobody misses."""
    place.succeed()
    listing = next((place.folder / "cache/hub/datasets--someone--pairs/listings").iterdir())
    assert SHARD in json.loads(listing.read_text())["files"]
    listing.write_text(listing.read_text().replace(SHARD, f"{SHARD[:-1]}u"))
    shutil.rmtree(place.folder / "data")
    place.environment["HF_HUB_OFFLINE"] = "1"
    assert "does not know what the dataset someone/pairs holds" in place.fail()
    del place.environment["HF_HUB_OFFLINE"]
    place.succeed()
    assert place.source("raw")["rows"] == 6
