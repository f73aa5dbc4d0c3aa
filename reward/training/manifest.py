"""The list of a checkpoint's files, which is written last and checked before a run goes on from it.

A checkpoint without this list was cut off while it was written. One that differs from its list was
damaged since: transformers would take up what is left of it without a word, with a new optimiser
where the old one's states are gone.
"""

import errno
from pathlib import Path

from reward.harness.files import read_json, sha256, sync, write_json

COMPLETE = "complete"  # the name of the list
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of file systems that cannot sync a folder


def write_manifest(checkpoint: Path) -> None:
    """Enter the size and the hash of every file into a checkpoint, when all of it is on the disk.

    To be called in one process when every process has written its part.
    """
    files = {}
    for path in sorted(checkpoint.rglob("*")):
        sync(path)
        if path.is_file():
            name = path.relative_to(checkpoint).as_posix()
            files[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
    sync(checkpoint)
    write_json(checkpoint / COMPLETE, {"files": files})
    for path in (checkpoint / COMPLETE, checkpoint, checkpoint.parent):
        sync(path)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, to stand in a sentence; None where it is whole."""
    try:
        files = read_json(checkpoint / COMPLETE)["files"]
        listed = [(name, entry["size"], entry["sha256"]) for name, entry in files.items()]
    except FileNotFoundError:
        return "it was never completed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its list of files, {COMPLETE}, cannot be read"
    # The sizes of all before the hash of any, which reads gigabytes.
    for name, size, _ in listed:
        path = checkpoint / name
        if not path.is_file():
            return f"its {name} is not there"
        if path.stat().st_size != size:
            return f"its {name} has {path.stat().st_size} bytes in place of {size}"
    for name, _, digest in listed:
        try:
            if sha256(checkpoint / name) != digest:
                return f"its {name} has other bytes than were written"
        except OSError as error:
            return f"its {name} cannot be read ({error.strerror})"
    return None
