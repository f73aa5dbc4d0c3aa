"""reward.harness.tables: Parquet with checksums, read by others and refused where a bit differs."""

import contextlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from reward.harness.errors import InputError
from reward.harness.tables import (
    open_parquet,
    parquet_writer,
    read_batches,
    read_schema,
    read_table,
)

TABLE = pa.table(
    {"id": [f"{number:03}" for number in range(300)], "ids": [[1, 2, n] for n in range(300)]}
).replace_schema_metadata({"max_length": "256"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "table.parquet")


def write(path: Path) -> Path:
    with parquet_writer(path, TABLE.schema) as writer:
        writer.write_table(TABLE, row_group_size=100)
    return path


READERS: dict[str, Callable[[Path], Any]] = {
    "table": read_table,
    "column": lambda path: read_table(path, ["id"]),
    "filter": lambda path: read_table(path, filters=pc.field("id") == "299"),
    "batches": lambda path: [batch.to_pydict() for batch in read_batches(path, 50)],
    "batches of a column": lambda path: [*read_batches(path, 50, ["ids"])],
    "schema": read_schema,
}


def test_what_was_written_is_read(file: Path) -> None:
    assert read_table(file).equals(TABLE)
    assert read_table(file, ["id"]).equals(TABLE.select(["id"]))
    assert read_table(file, filters=pc.field("id") == "299")["id"].to_pylist() == ["299"]
    assert pa.Table.from_batches(read_batches(file, 70)).equals(TABLE)
    assert {len(batch) for batch in read_batches(file, 50, ["ids"])} == {50}
    schema, rows = read_schema(file)
    assert (schema.metadata, rows) == ({b"max_length": b"256"}, 300)


def test_the_same_rows_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again.parquet").read_bytes() == file.read_bytes()


def test_the_seal_is_what_it_is_said_to_be(file: Path) -> None:
    content = file.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    body, seal, rest = content[: footer - 8], content[footer - 8 : footer], content[footer:]
    assert seal == b"SEAL" + zlib.crc32(body + rest).to_bytes(4, "little")


def test_any_other_reader_reads_it_and_verifies_its_pages(file: Path) -> None:
    assert pq.read_table(file, page_checksum_verification=True).equals(TABLE)
    content = bytearray(file.read_bytes())
    content[pq.read_metadata(file).row_group(2).column(0).data_page_offset + 60] ^= 1
    file.write_bytes(content)
    assert not pq.read_table(file).equals(TABLE)
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(file, page_checksum_verification=True)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_no_bit_can_flip_unnoticed(file: Path, read: Callable[[Path], Any]) -> None:
    """One bit of a byte, here and there: the reader refuses, or reads what was written."""
    content, right = file.read_bytes(), read(file)
    sentences = []
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        file.write_bytes(changed)
        try:
            assert read(file) == right, place
        except InputError as error:
            sentences.append(str(error))
    # Where the seal itself no longer is one, the file is read as one of others.
    assert len(sentences) >= len(content) // 3 - 2
    assert all(
        text.startswith(f"{file} is damaged (")
        and text.endswith("`python -m reward.verify` says how to restore it.")
        for text in sentences
    )


def test_a_file_that_was_cut_short_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in (0, 3, 8, 11, 100, len(content) - 9, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match="is damaged"):
            read_table(file)


def test_a_file_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "gone.parquet")


def test_files_of_others_are_read(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "plain.parquet")
    assert read_table(tmp_path / "plain.parquet").equals(TABLE)
    with open_parquet(tmp_path / "plain.parquet") as file:
        assert file.read().equals(TABLE)


def test_nothing_is_sealed_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    with contextlib.suppress(KeyboardInterrupt), parquet_writer(path, TABLE.schema) as writer:
        writer.write_table(TABLE)
        raise KeyboardInterrupt
    assert path.stat().st_size > 1000
    assert b"SEAL" not in path.read_bytes()
