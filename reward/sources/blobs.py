"""Files in the hub's cache: what they are known by, and how a damaged one leaves no trace."""

import hashlib
import re
from pathlib import Path

CHUNK_BYTES = 2**20
HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def entity_tag(path: Path) -> str | None:
    """The hash after which the client names a file's content, where the hub gave one."""
    if not path.is_symlink():  # the file system has no links, or the hub gave no usable tag
        return None
    tag = path.readlink().name
    return tag if HASH.fullmatch(tag) else None


def hashes(path: Path, *, git: bool) -> tuple[str, str | None]:
    """A file's SHA-256 and, if asked for, the SHA-1 under which git keeps it; it is read once."""
    sums = [hashlib.sha256()]
    if git:
        sums.append(hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))
    with path.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            for one in sums:
                one.update(chunk)
    sha256, *rest = (one.hexdigest() for one in sums)
    return sha256, rest[0] if rest else None


def remove(path: Path) -> None:
    """Remove a file of a snapshot with all that it leads to: the content may be shared."""
    chain = [path]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    for one in chain:
        one.unlink(missing_ok=True)
