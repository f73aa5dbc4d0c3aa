"""Parquet files with checksums: whatever byte of one has changed since, reading it fails.

Each page has the checksum of the format, which any reader can verify. It leaves out what describes
the pages: a bit there can hide a page, or all rows, from a reader that notices nothing. So a seal
lies before the footer, where the format has room for what readers do not look for: SEAL, then the
CRC-32 of all other bytes of the file. Files of others, which have no seal, are read as they are.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from reward.harness.errors import InputError, first_line
from reward.harness.faults import is_of_the_machine

SEAL = b"SEAL"
SEAL_BYTES = 8  # SEAL and the checksum, least significant byte first
TAIL_BYTES = 8  # of a Parquet file: the length of its footer, and PAR1
CHUNK_BYTES = 2**20


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file with page checksums, compressed; it is sealed when the block ends.

    options: further ones of `pq.ParquetWriter`. The same batches give the same bytes.
    """
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True, **options
    ) as writer:
        yield writer
    with path.open("r+b") as file:
        start = _footer(file)
        checksum = _checksum(file, start)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(SEAL + zlib.crc32(footer, checksum).to_bytes(4, "little") + footer)


def open_parquet(source: Path | BinaryIO) -> pq.ParquetFile:
    """Open any Parquet file to read batches of it; its checksums are compared where it has some.

    Opening, and reading the batches, raises OSError or pa.ArrowException where it is damaged.
    """
    _check_seal(source)
    # pre_buffer would keep all that was read in memory.
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def read_batches(
    path: Path, rows: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of a file of this project, of `rows` rows. Raises InputError where it is damaged."""
    with _named(path), open_parquet(path) as file:
        yield from file.iter_batches(rows, columns=columns)


def read_table(
    path: Path, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """A file of this project, whole. Raises InputError where it is damaged."""
    with _named(path):
        _check_seal(path)
        return pq.read_table(
            path, columns=columns, filters=filters, page_checksum_verification=True
        )


def read_schema(path: Path) -> tuple[pa.Schema, int]:
    """The schema of a file of this project, and the number of its rows.

    Raises InputError where it is damaged.
    """
    with _named(path), open_parquet(path) as file:
        return file.schema_arrow, file.metadata.num_rows


def read_notes(path: Path) -> dict[str, str]:
    """What a file of this project has in its metadata beside its schema, by key.

    Raises InputError where it is damaged.
    """
    with _named(path), open_parquet(path) as file:
        notes = file.metadata.metadata or {}
    return {key.decode(): text.decode() for key, text in notes.items() if key != b"ARROW:schema"}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if is_of_the_machine(error):
            raise
        raise InputError(
            f"{path} is damaged ({first_line(error)}): `python -m reward.verify` says how to "
            f"restore it."
        ) from None


def _check_seal(source: Path | BinaryIO) -> None:
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        start = _footer(file) - SEAL_BYTES
        if start < 0:
            return  # too short to be a Parquet file; the reader will say so
        file.seek(start)
        seal = file.read(SEAL_BYTES)
        if not seal.startswith(SEAL):
            return
        footer = file.read()
        found = zlib.crc32(footer, _checksum(file, start))
    if found != int.from_bytes(seal[len(SEAL) :], "little"):
        raise OSError("its content does not have its checksum")


def _footer(file: BinaryIO) -> int:
    """Where the footer of a Parquet file begins; below 0 where there is none."""
    end = file.seek(0, 2) - TAIL_BYTES
    if end < 0:
        return -1
    file.seek(end)
    return end - int.from_bytes(file.read(4), "little")


def _checksum(file: BinaryIO, end: int) -> int:
    """The CRC-32 of a file's first `end` bytes."""
    checksum = 0
    file.seek(0)
    while end:
        chunk = file.read(min(CHUNK_BYTES, end))
        if not chunk:
            break
        checksum = zlib.crc32(chunk, checksum)
        end -= len(chunk)
    return checksum
