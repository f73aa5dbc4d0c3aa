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
AGAIN = "mend that and run again"
# Mistakes of the program keep their traceback, whatever has led to them.
MISTAKES = (
    *(TypeError, AttributeError, NameError, LookupError, AssertionError, ArithmeticError),
    *(ImportError, NotImplementedError),
)
NO_MEMORY = re.compile("can't allocate memory|out of memory", re.IGNORECASE)  # torch
# Rust's libraries (safetensors, tokenizers) have the number in their text alone.
NUMBER = re.compile(r"\(os error (\d+)\)")
CUT_SHORT = re.compile("PytorchStreamWriter|inline_container")  # torch; it does not say why
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LITTLE = 1 << 26  # bytes; a disk with less room than this is the one that had none


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
            return _sentence(_place(one, number, chain), number)
    if CUT_SHORT.search(str(error)) and (place := _full_disk()):
        return _sentence(place, errno.ENOSPC)
    if not isinstance(error, OSError):
        return None
    return _sentence(_place(error, error.errno, chain), error.errno)


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error met while a file was read says nothing of the file: `describe` knows it."""
    return isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno is not None
    )


def _sentence(place: str, number: int | None) -> str:
    parts = [place, *([os.strerror(number)] if number else []), CURES.get(number or 0, AGAIN)]
    return printable(f"{': '.join(part for part in parts if part)}.")


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


def _place(error: Exception, number: int | None, chain: list[Exception]) -> str:
    """The file that an error names, or the output that was being written (see `replacing`), or what
    is said besides the number.
    """
    notes = [note for one in chain for note in getattr(one, "__notes__", [])]
    names = [error.filename] if isinstance(error, OSError) else []
    named = [os.fsdecode(name) for name in names if isinstance(name, str | bytes)]
    # A copy that finds no room names what it copies.
    places = [*notes[-1:], *named] if number in NO_ROOM else [*named, *notes[-1:]]
    if number == errno.ENOSPC and not places and (full := _full_disk()):
        return full
    said = re.sub(r"^\[Errno \d+\] ", "", first_line(error)).split(". Detail: ")[0]
    # Most say the same in words.
    return places[0] if places else "" if number and os.strerror(number) in said else said


def _full_disk() -> str | None:
    """The folder of outputs or checkpoints where no room is left."""
    places = (Path(os.environ.get("DVC_ROOT", ".")), Path())
    full = (place for place in places if shutil.disk_usage(place).free < LITTLE)
    return next((str(place.resolve()) for place in full), None)
