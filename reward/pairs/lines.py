"""Bytes of the files that rows come in: unpacked where they are compressed, and cut into lines."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

LINE_BYTES = 64 * 2**20
"""Of a line, or of an item of a JSON array, at most, read before it is known to be longer; a few
megabytes of .gz can hold one that no memory does."""

PACKED_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a compressed file raises where it is damaged or cut short."""


class UnreadableError(Exception):
    """A row that cannot be read, while those after it can: what it is, and how to mend it.

    unit: what its number counts.
    """

    def __init__(self, problem: str, cure: str, unit: str = "Row") -> None:
        super().__init__(problem, cure)
        self.problem, self.cure, self.unit = problem, cure, unit


def open_unpacked(path: Path, name: str) -> BinaryIO:
    """Open a file to read what is in it; the end of `name` says how it is compressed."""
    unpack = next((one for end, one in UNPACK.items() if name.lower().endswith(end)), None)
    return cast(BinaryIO, unpack(path)) if unpack else path.open("rb")


def _open_zstd(path: Path) -> io.BufferedReader:
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


UNPACK: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _open_zstd,
}


def lines_of(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None in the place of one that is longer than LINE_BYTES."""
    while line := file.readline(LINE_BYTES + 1):
        if len(line) <= LINE_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES)
        yield None
