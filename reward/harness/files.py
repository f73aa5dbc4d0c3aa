"""Files: written whole or not at all, removed, and known again by their hashes."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write an output so that it is there whole or not at all.

    Yields a sibling path to write a file or a folder to; it takes the place of `path` only when
    the block ends without an exception, and is removed otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        yield partial
        remove(path)
        partial.replace(path)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a record as JSON; a NaN or an infinity raises ValueError."""
    with replacing(path) as partial:
        text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A record that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dvc_hash(path: Path) -> str:
    """The MD5 by which dvc.lock names a file or a folder.

    A folder's is that of the JSON list of its files, each with its hash and its path below the
    folder, in the order of these paths. Raises FileNotFoundError where there is neither.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, _md5).hexdigest()
    files = sorted(
        (file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file()
    )
    listing = json.dumps([{"md5": dvc_hash(file), "relpath": name} for name, file in files])
    return f"{_md5(listing.encode()).hexdigest()}.dir"


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)
