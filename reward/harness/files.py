"""Files: written whole or not at all, removed, and known again by their hashes."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reward.harness.errors import InputError, first_line
from reward.harness.swap import swap

OLD = ".old"  # ends the name of what was there before, on its way out
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # of file systems that have none
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of file systems that cannot sync a folder
# Where something is in the way that a rename does not replace: a folder, or a file for a folder.
IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)


def check_output(path: Path, *inputs: Path) -> None:
    """Raise InputError where an output may not be put in the place of what is there.

    That is a symbolic link, a device or a pipe, and whatever is one of the `inputs` as well.
    """
    if path.is_symlink():
        raise InputError(
            f"{path} is a symbolic link, and an output takes its place: name {path.resolve()}, or "
            f"remove the link."
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is neither a file nor a folder: name another output.")
    if any(is_same_file(path, one) for one in inputs):
        raise InputError(f"{path} is the input as well: name another output.")


def is_same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, however they are called."""
    return first.is_file() and second.is_file() and first.samefile(second)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write an output so that it is there whole or not at all, for readers and after a power cut.

    Yields a path of the same name, in a folder of this run beside it, to write a file or a folder
    to. When the block ends without an exception, it gets the permissions that the umask leaves, is
    brought to the disk and takes the place of `path` in one step (in two on a file system that
    cannot swap folders). What a killed run has left beside `path` is removed first; two runs do not
    touch each other's, and the one that ends last stays.

    Raises InputError where `path` may not be replaced (see check_output).
    """
    check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    with _own_folder(path) as folder:
        partial = folder / path.name
        try:
            yield partial
            _settle(partial)
            _put(partial, path)
            sync(path.parent)
        except Exception as error:
            error.add_note(str(path))  # what errors of the system do not tell
            raise


@contextmanager
def _own_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, locked while this run writes to it, and gone after the block."""
    folder, lock = _new_folder(path)
    try:
        yield folder
    finally:
        remove(folder)
        if lock is not None:
            os.close(lock)


def _new_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        try:
            name = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        except OSError as error:
            error.filename = str(path)
            raise
        try:
            return Path(name), _lock(Path(name))
        except (BlockingIOError, FileNotFoundError):
            continue  # another run has just taken it for one that was left
        except OSError as error:
            if error.errno not in (*NO_LOCKS, errno.EBADF):  # NFS locks no folder
                raise
            return Path(name), None


def _sweep(path: Path) -> None:
    """Remove what killed runs have left; of a swap that was cut off, the old output comes back."""
    left = re.compile(rf"\.{re.escape(path.name)}\.\w{{8}}\.partial")
    for folder in [one for one in path.parent.iterdir() if left.fullmatch(one.name)]:
        with suppress(OSError):  # one that another run is writing to stays, or another user's
            lock = _lock(folder)
            try:
                old = folder / f"{path.name}{OLD}"
                if old.exists() and not path.exists():
                    old.rename(path)
                remove(folder)
            finally:
                os.close(lock)


def _lock(folder: Path) -> int:
    """A descriptor by which this run alone has locked a folder, until it closes it.

    Raises BlockingIOError where another run has, and FileNotFoundError where the folder is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # it may have been removed since it was opened
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _settle(path: Path) -> None:
    """Give a file, or a folder with all it holds, the usual permissions, and bring it to the disk.

    Some libraries give their files others, whatever the umask.
    """
    mask = os.umask(0o077)  # can only be read by setting it
    os.umask(mask)
    for one in (*(path.rglob("*") if path.is_dir() else ()), path):
        if not one.is_symlink():
            mode = one.stat().st_mode
            # A folder that gives its group to all that comes into it goes on doing so.
            usual = 0o777 | mode & stat.S_ISGID if stat.S_ISDIR(mode) else 0o666
            one.chmod(usual & ~mask)
            sync(one)


def sync(path: Path) -> None:
    """Wait until a file's content or a folder's entries are on the disk, as after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _put(new: Path, path: Path) -> None:
    """Let a file or folder take a place in which there may be another."""
    try:
        new.replace(path)
        return
    except OSError as error:
        if error.errno not in IN_THE_WAY:
            raise
    if not swap(new, path):
        old = new.with_name(f"{new.name}{OLD}")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise


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


def read_foreign_json(path: Path, name: str, cure: str) -> dict[str, Any]:
    """A record that somebody else wrote.

    name, cure: what the file is called and what to do, in the sentence of the InputError that is
    raised where it is no JSON object.
    """
    try:
        content = read_json(path)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON ({first_line(error)}): {cure}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{name} holds a {type(content).__name__} in place of an object: {cure}.")
    return content


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
