"""reward.pairs.rows: files as they are found, whole and broken."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward.harness.errors import InputError
from reward.pairs import lines as lines_module
from reward.pairs import rows
from reward.pairs.rows import Row, Tolerance, read_rows


def read(path: Path, tolerated: int = 0) -> list[Row | str]:
    batches = read_rows({path.name: path}, Tolerance(tolerated))
    return [row for batch in batches for _, row in batch]


def numbers(path: Path, tolerated: int = 0) -> list[int]:
    batches = read_rows({path.name: path}, Tolerance(tolerated))
    return [number for batch in batches for number, _ in batch]


def lines(values: list[Any]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


ROWS: list[Row] = [{"n": number, "text": "ä" * number} for number in range(10)]


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS)))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert read(path) == ROWS, path.name


def test_files_are_read_in_order_and_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH_ROWS", 4)
    (tmp_path / "b.jsonl").write_bytes(lines(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    files = {name: tmp_path / name for name in ("b.jsonl", "a.parquet")}
    batches = list(read_rows(files, Tolerance(0)))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    assert [row for batch in batches for _, row in batch] == ROWS + ROWS
    assert [number for batch in batches for number, _ in batch] == [*range(1, 21)]


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n   \n{"a": 2}')
    assert read(path) == [{"a": 1}, {"a": 2}]
    assert numbers(path) == [1, 4]


def test_a_row_has_the_number_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"a": 1}\n\n{\n{"a": 2}\n\n')
    assert numbers(path, tolerated=1) == [2, 4, 5]
    # A further file goes on from the last row.
    files = {"a.jsonl": path, "b.jsonl": path}
    batches = read_rows(files, Tolerance(2))
    assert [number for batch in batches for number, _ in batch] == [2, 4, 5, 7, 9, 10]


GOOD = b'{"a": 1}\n'


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", GOOD + b'{"a": \n' + GOOD, r"Line 2 of a\.jsonl is not a JSON object"),
        ("a.jsonl", GOOD + GOOD + b"[1]\n", r"Line 3 of a\.jsonl is not a JSON object"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl is no JSON after its item 0 \(maximum rec"),
        ("a.jsonl", b'{"a": ' + b"1" * 5000 + b"}", r"Line 1 of a\.jsonl is not a JSON object"),
        ("a.jsonl", GOOD + '{"a": "é"}'.encode("latin-1"), r"Line 2 of a\.jsonl is not UTF-8"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), r"Line 1 of a\.jsonl is not UTF-8"),
        ("a.jsonl.gz", gzip.compress(GOOD * 9999)[:-9], r"a\.jsonl\.gz cannot be read after line"),
        ("a.jsonl.gz", GOOD, r"a\.jsonl\.gz cannot be read after line 0"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet is not a whole Parquet file"),
        ("a.parquet", b"", r"a\.parquet is not a whole Parquet file"),
        ("a.txt", b"a,b\n", r"a\.txt is not of a kind that is read here \(\.jsonl, "),
    ],
)
def test_what_cannot_be_read_ends_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_cut_short(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.parquet is not a whole Parquet file"):
        read(tmp_path / "a.parquet")


def test_a_parquet_row_that_is_not_utf8_is_broken_text(tmp_path: Path) -> None:
    text = pa.array([b"fine", b"br\xffken", b"fine too"]).view(pa.string())
    pq.write_table(pa.table({"a": text}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [{"a": "fine"}, "broken_text", {"a": "fine too"}]


BAD = GOOD + b"{\n" + GOOD + b'{"a": "\xff"}\n' + GOOD


def test_as_many_unreadable_lines_as_tolerated_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(BAD)
    row = {"a": 1}
    assert read(tmp_path / "a.jsonl", 2) == [row, "unreadable", row, "unreadable", row]
    with pytest.raises(
        InputError, match=r"Line 4 of a\.jsonl .* raise download\.unreadable_rows\."
    ):
        read(tmp_path / "a.jsonl", 1)


def test_the_tolerance_is_for_all_files_together(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(BAD)
    files = {name: tmp_path / name for name in ("a.jsonl", "b.jsonl")}
    assert sum(map(len, read_rows(files, Tolerance(4)))) == 10
    with pytest.raises(InputError, match=r"Line 4 of b\.jsonl"):
        list(read_rows(files, Tolerance(3)))


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n" + GOOD])
def test_a_line_may_be_as_long_as_is_read_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: bytes
) -> None:
    monkeypatch.setattr(lines_module, "LINE_BYTES", 100)
    path = tmp_path / "a.jsonl"
    longest = b'{"a": "' + b"x" * 90 + b'"}\n'
    assert len(longest) == 100
    path.write_bytes(longest + GOOD)
    assert read(path) == [{"a": "x" * 90}, {"a": 1}]
    for length in (101, 150, 200, 201, 1000):
        path.write_bytes(GOOD + b"x" * length + ending)
        rest = [{"a": 1}] if GOOD in ending else []
        assert read(path, tolerated=1) == [{"a": 1}, "unreadable", *rest]
        with pytest.raises(
            InputError,
            match=r"^Line 2 of a\.jsonl has more than 100 bytes: shorten or remove it, or raise d",
        ):
            read(path)


READS = """
import resource, sys
from pathlib import Path
from reward.pairs.rows import Tolerance, read_rows

def most():
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024

path, before = Path(sys.argv[1]), most()
print([row for batch in read_rows({path.name: path}, Tolerance(1)) for _, row in batch])
print(most() - before)
"""


def test_a_line_of_gigabytes_in_a_small_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    length = 500 * 2**20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD + b'{"a": "')
        for _ in range(length // 2**20):
            file.write(b"x" * 2**20)
        file.write(b'"}\n' + GOOD)
    assert path.stat().st_size < length / 100
    done = subprocess.run(
        [sys.executable, "-c", READS, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    read_as, growth = done.stdout.splitlines()
    assert read_as == "[{'a': 1}, 'unreadable', {'a': 1}]"
    assert int(growth) < 4 * lines_module.LINE_BYTES < length


def test_an_answer_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    text = "ä" * 5_000_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": text}, ensure_ascii=False), "utf-8")
    assert read(tmp_path / "a.jsonl") == [{"a": text}]


def test_an_escaped_lone_surrogate_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"a": "\ud800"}')
    assert read(tmp_path / "a.jsonl") == [{"a": "\ud800"}]


def test_memory_does_not_grow_with_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": [f"{number:032x}" * 32 for number in range(4096)]})  # 4 MB
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(16):
            writer.write_table(table)
    before = pa.total_allocated_bytes()
    most = 0
    for _ in read_rows({"a.parquet": path}, Tolerance(0)):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < path.stat().st_size / 3
