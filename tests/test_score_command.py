"""python -m reward.score as a filter and with files: what it writes, says and ends with."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward.score import main
from tests.models import make_model

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def filtered(arguments: list[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """`python -m reward.score`, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "reward.score", *arguments],
        input=text,
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )


def status(monkeypatch: pytest.MonkeyPatch, *arguments: object, text: bytes = b"") -> int:
    """The exit status of the same within this process, which is faster."""
    monkeypatch.setattr("sys.argv", ["score", *map(str, arguments)])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code  # type: ignore[return-value]


def test_the_filter_names_bad_lines_and_goes_on(folder: Path) -> None:
    lines = [
        b'{"prompt": "Hi", "response": "Hello", "note": "\\ud800 \xc3\xa9"}',
        b"",
        b"nonsense",
        b'["a list"]',
        b'{"prompt": "\xff", "response": "x"}',
        b'{"prompt": "Hi"}',
        b'{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}',
    ]
    done = filtered([str(folder)], b"\n".join(lines))
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        "score: line 3: not JSON",
        "score: line 4: not a JSON object",
        "score: line 5: not UTF-8",
        "score: line 6: missing response",
        "score: 6 rows, 2 scored",
    ]
    first, second = map(json.loads, done.stdout.splitlines())
    assert list(first) == ["prompt", "response", "note", "score"]
    assert first["note"] == "\ud800 é"
    assert {"chosen_score", "rejected_score"} < set(second)


def test_exit_status(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = b'{"prompt": "Hi", "response": "Hello"}\n'
    assert status(monkeypatch, folder, text=good) == 0
    assert status(monkeypatch, folder, text=b"nonsense\n" + good) == 1
    assert status(monkeypatch, folder, text=b"nonsense\n") == 2
    assert status(monkeypatch, folder, text=b"") == 2
    capsys.readouterr()
    assert status(monkeypatch, "nowhere", text=good) == 2
    assert capsys.readouterr().err.startswith("score: nowhere has no config.json:")


def test_files_that_end_early_are_one_sentence(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"prompt": f"Hi {number}", "response": "Hello"} for number in range(200)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (tmp_path / "in.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet", compression="none")
    broken = (tmp_path / "in.parquet").read_bytes()
    (tmp_path / "in.parquet").write_bytes(broken[:4] + bytes(len(broken) // 2) + broken[-2000:])
    monkeypatch.chdir(tmp_path)
    for name in ("parquet", "jsonl.gz"):
        assert status(monkeypatch, folder, "--input", f"in.{name}", "--output", f"o.{name}") == 2
        said = capsys.readouterr().err
        assert "write it again." in said or "cannot be read as Parquet" in said
        assert not (tmp_path / f"o.{name}").exists()


def test_a_folder_is_no_output_and_keeps_what_it_holds(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in.jsonl").write_text('{"prompt": "Hi", "response": "Hello"}\n')
    arguments = ("--input", tmp_path / "in.jsonl", "--output", tmp_path)
    assert status(monkeypatch, folder, *arguments) == 2
    assert "is a folder: name a file in it." in capsys.readouterr().err
    assert (tmp_path / "in.jsonl").exists()


def test_files_of_either_kind(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"prompt": "Hi", "responses": ["Hello", "No"], "number": 1},
        {"prompt": None, "responses": ["Hello"], "number": 2},
        {"prompt": "Hi", "responses": ["Hello", "No", "Yes"], "number": 3},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    with gzip.open(tmp_path / "in.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.chdir(tmp_path)
    for name in ("parquet", "jsonl.gz"):
        files = ["--input", f"in.{name}", "--output", f"out.{name}"]
        assert status(monkeypatch, folder, *files) == 1
        assert " 2: missing prompt\n" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with gzip.open(tmp_path / "out.jsonl.gz", "rt") as file:
        lines = [json.loads(line) for line in file]
    assert table == lines
    assert [row["number"] for row in table] == [1, 3]
    assert [len(row["scores"]) for row in table] == [2, 3]
    assert not list(tmp_path.glob(".*"))
    assert status(monkeypatch, folder, "--input", "in.parquet") == 2
    assert "different kinds" in capsys.readouterr().err
