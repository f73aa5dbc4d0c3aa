"""Two paths that change places in one step, by calls of the system that Python does not have."""

import ctypes
import errno
import os
import sys
from pathlib import Path

SWAP = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS have the same number
HERE = -100  # Linux' AT_FDCWD: paths are relative to the current folder
NOT_THERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def swap(first: Path, second: Path) -> bool:
    """Let two paths of one file system change places; nobody sees one of them missing.

    Returns False where the system or the file system has no such step (NFS, for one); nothing has
    happened then. Raises OSError where it is refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    a, b = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(a, b, SWAP)
        else:
            failed = libc.renameat2(HERE, a, HERE, b, SWAP)
    except AttributeError:  # an old C library
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))
