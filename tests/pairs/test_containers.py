"""Files of other kinds than JSON lines and Parquet: the same rows, or one sentence."""

import bz2
import csv
import gzip
import io
import json
import lzma
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from reward.harness.errors import InputError
from reward.pairs import json_rows, lines
from reward.pairs.rows import Row, Tolerance, read_rows

ROWS: list[Row] = [
    {"prompt": "Ein Tier?", "chosen": 'Der "Dachs",\noder\tder Luchs.', "rejected": "\u00e4" * 9},
    {"prompt": "[1, 2]", "chosen": "4.5", "rejected": "N/A"},
    {"prompt": "{", "chosen": "]", "rejected": None},
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def read(path: Path, tolerated: int = 0) -> list[tuple[int, Row | str]]:
    return [row for batch in read_rows({path.name: path}, Tolerance(tolerated)) for row in batch]


def values(path: Path) -> list[Row | str]:
    return [row for _, row in read(path)]


def table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*ROWS[0]], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def arrow(batches: list[pa.RecordBatch], *, stream: bool = True) -> bytes:
    sink = pa.BufferOutputStream()
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


BATCHES = pa.Table.from_pylist(ROWS).to_batches(max_chunksize=2)
COLUMNS = {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]}
SAME = {
    "line.json": json.dumps(ROWS).encode(),
    "indented.json": json.dumps(ROWS, indent=2).encode(),
    "marked.json": b"\xef\xbb\xbf \r\n" + json.dumps(ROWS).encode() + b"\n\n",
    "array.jsonl": json.dumps(ROWS, indent="\t").encode(),
    "lines.json": LINES,
    "lines.ndjson": LINES,
    "objects.json": "\n".join(json.dumps(row, indent=4) for row in ROWS).encode(),
    "data.json": json.dumps({"version": 2, "data": ROWS}).encode(),
    "train.json": json.dumps({"about": {"by": "us"}, "train": ROWS}, indent=1).encode(),
    "pandas.json": json.dumps(COLUMNS).encode(),
    "split.json": json.dumps(
        {"columns": [*ROWS[0]], "index": [0, 1, 2], "data": [[*row.values()] for row in ROWS]}
    ).encode(),
    "index.json": json.dumps(dict(enumerate(ROWS)), indent=1).encode(),
    "pairs.json": json.dumps({"pairs": ROWS}).encode(),
    "lists.json": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}).encode(),
    "a.csv": table(","),
    "a.tsv": table("\t"),
    "semicolons.csv": table(";"),
    "tabs.csv": table("\t"),
    "marked.csv": b"\xef\xbb\xbf" + table(","),
    "A.CSV": table(","),
    "lines.jsonl.zst": zstd(LINES),
    "frames.jsonl.zst": zstd(LINES[:100]) + zstd(LINES[100:]),
    "lines.jsonl.bz2": bz2.compress(LINES),
    "lines.jsonl.xz": lzma.compress(LINES),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "array.json.zst": zstd(json.dumps(ROWS).encode()),
    "a.csv.gz": gzip.compress(table(",")),
    "a.tsv.zst": zstd(table("\t")),
    "stream.arrow": arrow(BATCHES),
    "file.arrow": arrow(BATCHES, stream=False),
}


@pytest.mark.parametrize("chunk", [1, 7, 2**20])
@pytest.mark.parametrize("name", SAME)
def test_every_container_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    monkeypatch.setattr(json_rows, "CHUNK_BYTES", chunk)
    (tmp_path / name).write_bytes(SAME[name])
    assert read(tmp_path / name) == [*enumerate(ROWS, 1)]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [{"role": "user"}, {"role": "assistant"}], "rejected": [{"a": 1}, {"b": 2}]},
        {"conversation": {"role": "user"}, "answer": {"role": "assistant"}},
    ],
)
def test_a_single_row_is_not_taken_for_a_list_of_rows(tmp_path: Path, row: Row) -> None:
    for indent in (None, 2):
        (tmp_path / "a.json").write_text(json.dumps(row, indent=indent))
        assert values(tmp_path / "a.json") == [row]


def test_an_array_is_read_as_it_is_asked_for() -> None:
    item = json.dumps({"a": "x" * 5_000})
    file = io.BytesIO(f"[{','.join([item] * 2_000)}]".encode())
    items = json_rows.array_items(file)
    assert next(items) == json.loads(item)
    assert file.tell() == json_rows.CHUNK_BYTES
    assert sum(1 for _ in items) == 1_999


def test_of_an_item_without_end_no_more_is_read_than_a_line_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 10_000)
    monkeypatch.setattr(json_rows, "CHUNK_BYTES", 100)
    file = io.BytesIO(b'[{"a": 1}, {"a": "' + b"x" * 1_000_000)
    items = json_rows.array_items(file)
    assert next(items) == {"a": 1}
    with pytest.raises(ValueError, match=r"Unterminated string .*, or more than 10,000 bytes"):
        next(items)
    assert file.tell() < 25_000


DEEP = b'{"a":' * 100_000
WHOLE = b"prompt,chosen,rejected\nWhy?,So.,No.\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", b'[{"a": 1}, {"a": 2', r"a\.json is no JSON after its item 1 \("),
        ("a.json", b'[{"a": 1}, {"a": 2}', r"item 2 \('the end' where '\]' was expected\)"),
        ("a.json", b'[{"a": 1} {"a": 2}]', r"item 1 \('\{' where '\]' was expected\)"),
        ("a.json", b'[{"a": 1}]\n[{"a": 2}]', r"item 1 \(it goes on after the end of its array"),
        ("a.json", b'[{"a": "\xff"}]', r"after its item 0 \(it is not UTF-8\)"),
        ("a.json", b"[" + DEEP, r"after its item 0 \(maximum recursion"),
        ("a.json", b'[{"a": ' + b"1" * 5000 + b"}]", r"after its item 0 \(Exceeds the limit"),
        ("a.json", b'{"a":\n1}\n{"a":\n', r"Line 1 of a\.json is not a JSON object"),
        ("a.json", b'[{"a": 1}, 7]', r"Row 2 of a\.json is not a JSON object \(it holds a int\)"),
        (
            "a.json.gz",
            gzip.compress(b"[" * 9, mtime=0)[:-5],
            r"a\.json\.gz cannot be read after line 0 \(",
        ),
        ("a.jsonl.zst", zstd(LINES)[:-9], r"a\.jsonl\.zst cannot be read after line 0 \("),
        ("a.jsonl.zst", LINES, r"cannot be read after line 0 \(ZSTD decompress failed"),
        ("a.jsonl.xz", lzma.compress(LINES)[:-9], r"a\.jsonl\.xz cannot be read after line 0 \("),
        ("a.jsonl.xz", LINES, r"cannot be read after line 0 \(Input format not supported"),
        ("a.jsonl.bz2", LINES, r"cannot be read after line 0 \(Invalid data stream\)"),
        ("a.csv.gz", gzip.compress(WHOLE, mtime=0)[:-9], r"a\.csv\.gz cannot be read after row "),
        ("a.csv", WHOLE + b'Why?,"So.,No.\n', r"a\.csv is no table near its line 3 \(unexpected e"),
        ("a.csv", WHOLE + b'Why?,"So".,No.\n', r"a\.csv is no table near its line 3 \("),
        ("a.csv", WHOLE + b"Why?,So.\n", r"Row 2 of a\.csv has 2 cells, and the header names 3: p"),
        ("a.csv", WHOLE + b"Why?,So\xff.,No.\n", r"Row 2 of a\.csv is not UTF-8: save"),
        ("a.csv", WHOLE.decode().encode("utf-16"), r"The header of a\.csv is not UTF-8: save"),
        ("a.csv", b"chosen,chosen\n1,2\n", r"a\.csv has several columns chosen: give each a name"),
        ("a.csv", b"," * 20_000, r"a\.csv has more than 10,000 columns"),
        ("a.arrow", arrow(BATCHES)[:-200], r"a\.arrow is not a whole Arrow file \("),
        ("a.arrow", arrow(BATCHES, stream=False)[:-9], r"a\.arrow is not a whole Arrow file \("),
        ("a.arrow", b"", r"a\.arrow is not a whole Arrow file \("),
        ("a.arrow", b"ARROW1", r"a\.arrow is not a whole Arrow file \("),
    ],
)
def test_what_cannot_be_read_ends_in_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "content", "bad"),
    [
        ("a.json", b'[{"a": "1"}, 7, {"a": "2"}, [{}], null]', {2, 4, 5}),
        ("a.csv", b"a,b\n1\n1,2\n\n1,2,3\n\xff,2\n1,2\n", {1, 3, 4}),
    ],
)
def test_rows_that_cannot_be_read_are_passed_over_on_request(
    tmp_path: Path, name: str, content: bytes, bad: set[int]
) -> None:
    (tmp_path / name).write_bytes(content)
    rows = read(tmp_path / name, tolerated=3)
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5]
    assert {number for number, row in rows if row == "unreadable"} == bad
    with pytest.raises(InputError, match=r"raise download\.unreadable_rows\.$"):
        read(tmp_path / name, tolerated=2)


def test_cells_are_texts_as_they_stand_and_empty_ones_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b',prompt, score ,note\r\n0,"Two\r\nlines, ""quoted""",4.50,\r\n\r\n1, Why? ,N/A,""\r\n'
    )
    assert read(tmp_path / "a.csv") == [
        (
            1,
            {
                "Unnamed: 0": "0",
                "prompt": 'Two\r\nlines, "quoted"',
                "score": "4.50",
                "note": None,
            },
        ),
        (2, {"Unnamed: 0": "1", "prompt": " Why? ", "score": "N/A", "note": None}),
    ]


def test_a_cell_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    text = "x" * 10_000_000
    (tmp_path / "a.csv").write_text(f"a,b\n{text},1\n")
    assert values(tmp_path / "a.csv") == [{"a": text, "b": "1"}]


def test_an_arrow_row_that_is_not_utf8_is_broken_text(tmp_path: Path) -> None:
    text = pa.array([b"fine", b"br\xffken", b"fine too"]).view(pa.string())
    (tmp_path / "a.arrow").write_bytes(arrow([pa.record_batch({"a": text})]))
    assert values(tmp_path / "a.arrow") == [{"a": "fine"}, "broken_text", {"a": "fine too"}]


@pytest.mark.parametrize("offsets", [[0, 3, 2**30], [0, -5, 6], [0, 5, 2]])
def test_an_arrow_file_that_points_beyond_its_end_is_not_followed(
    tmp_path: Path, offsets: list[int]
) -> None:
    def packed(numbers: list[int]) -> bytes:
        return struct.pack("<3i", *numbers)

    content = arrow([pa.record_batch({"a": ["one", "two"]})])
    assert content.count(packed([0, 3, 6])) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(packed([0, 3, 6]), packed(offsets)))
    with pytest.raises(InputError, match=r"a\.arrow is not a whole Arrow file \("):
        read(tmp_path / "a.arrow")
