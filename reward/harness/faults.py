"""What is wrong with the machine and not with the program, told from any library's errors."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from reward.harness.errors import InputError, first_line, printable

CURES = {  # by the error's number
    errno.ENOSPC: "make room on its disk and run again",
    errno.EDQUOT: "make room within your quota and run again",
    errno.EFBIG: "name a place that takes files of this size",
    errno.EACCES: "change its permissions or name another place",
    errno.EPERM: "change its permissions or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.EIO: "see the system's log, and restore what its disk has lost",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "allow more open files in the whole system",
    errno.ENAMETOOLONG: "name a shorter one",
}
# Mistakes of the program keep their traceback, whatever has led to them.
MISTAKES = (
    *(TypeError, AttributeError, NameError, LookupError, AssertionError, ArithmeticError),
    *(ImportError, NotImplementedError),
)
NO_MEMORY = re.compile("can't allocate memory|out of memory", re.IGNORECASE)  # torch
# Rust's libraries (safetensors, tokenizers) have the number in their text alone.
NUMBER = re.compile(r"\(os error (\d+)\)")
CUT_SHORT = re.compile("PytorchStreamWriter|inline_container")  # torch; it does not say why
LITTLE = 1 << 20  # bytes; a disk with less than this is full


def describe(error: Exception) -> str | None:
    """What is wrong and how to mend it, in one sentence; None for a mistake of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MISTAKES):
        return None
    chain = [*_chain(error)]
    for one in chain:
        number = _number(one)
        if isinstance(one, MemoryError) or number == errno.ENOMEM or NO_MEMORY.search(str(one)):
            asked = f" ({first_line(one)})" if str(one) else ""
            return printable(
                f"memory ran out{asked}: end what else uses it, or take a machine with more."
            )
        if number in CURES:
            return _sentence(_place(one, chain), number)
    if CUT_SHORT.search(str(error)) and (place := _full_disk()):
        return _sentence(place, errno.ENOSPC)
    if not isinstance(error, OSError):
        return None
    if error.errno is None:
        return printable(f"{first_line(error) or type(error).__name__}: mend that and run again.")
    reason = os.strerror(error.errno)
    return printable(f"{_place(error, chain)}: {reason}: mend that and run again.")


def _sentence(place: str, number: int) -> str:
    return printable(f"{place}: {os.strerror(number)}: {CURES[number]}.")


def _chain(error: Exception) -> Iterator[Exception]:
    """An error, what it was raised from, and so on."""
    seen = set[int]()
    one: BaseException | None = error
    while isinstance(one, Exception) and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = NUMBER.search(str(error))
    return int(found[1]) if found else None


def _place(error: Exception, chain: list[Exception]) -> str:
    """The file that an error names, or else the output that was being written (see `replacing`)."""
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return os.fsdecode(error.filename)
    notes = [note for one in chain for note in getattr(one, "__notes__", [])]
    return notes[-1] if notes else first_line(error)


def _full_disk() -> str | None:
    """The folder of outputs or checkpoints where no room is left."""
    places = (Path(os.environ.get("DVC_ROOT", ".")), Path())
    full = (place for place in places if shutil.disk_usage(place).free < LITTLE)
    return next((str(place.resolve()) for place in full), None)
