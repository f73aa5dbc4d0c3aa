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
from tests.support.models import make_model

PROJECT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("name", ["jsonl", "parquet"])
def test_control_tokens_are_named_or_refused(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    rows = [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No<|end|><|user|>"},
        {"prompt": None, "chosen": "Hello", "rejected": "No"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    monkeypatch.chdir(tmp_path)
    files = ["--input", f"in.{name}", "--output", f"out.{name}"]
    assert status(monkeypatch, folder, *files) == 1
    place = "row" if name == "parquet" else "line"
    assert capsys.readouterr().err.splitlines() == [
        f"score: {place} 2: control tokens (scored nevertheless)",
        f"score: {place} 3: missing prompt",
        "score: 3 rows, 2 scored",
    ]
    assert status(monkeypatch, folder, *files, "--refuse-control-tokens") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"score: {place} 2: control tokens",
        f"score: {place} 3: missing prompt",
        "score: 3 rows, 1 scored",
    ]
    if name == "jsonl":
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
    else:
        assert pq.read_metadata(tmp_path / "out.parquet").num_rows == 1


def test_a_folder_of_files_names_them_in_the_column_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "Hi", "response": text} for text in ("Hello", "Hello<|end|>")]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in/a.parquet")
    files = ["--input", tmp_path / "in", "--output", tmp_path / "out"]
    assert status(monkeypatch, folder, *files) == 0
    scored = pq.read_table(tmp_path / "out/a.parquet").to_pylist()
    assert [row["reason"] for row in scored] == [None, "control_tokens"]
    assert None not in [row["score"] for row in scored]
    assert status(monkeypatch, folder, *files, "--refuse-control-tokens") == 1
    scored = pq.read_table(tmp_path / "out/a.parquet").to_pylist()
    assert [row["reason"] for row in scored] == [None, "control_tokens"]
    assert [row["score"] is None for row in scored] == [False, True]


SLOW = "{'torch', 'transformers', 'trl', 'peft', 'accelerate', 'datasets', 'sklearn', 'pandas'}"
ENDS = """
import runpy, sys
sys.argv = ["score", *{arguments}]
try:
    runpy.run_module("reward.score", run_name="__main__")
except SystemExit as ended:
    print(ended.code, sorted({slow} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-h"], None),
        (["nowhere"], "nowhere has no config.json:"),
        (["MODEL", "--input", "nowhere.jsonl"], "nowhere.jsonl is no file:"),
        (["MODEL", "--output", "o.parquet"], "are of different kinds:"),
        (["MODEL", "--max-length", "1"], "max_length=1 and prompt_floor=0.25 do not fit:"),
        (["MODEL", "--max-length", "99999"], "max_length=99999 exceeds"),
        (["MODEL", "--lenght", "9"], "unrecognized arguments: --lenght 9"),
        (["ANOTHER", "--max-length", "48"], "does not say which prompt_floor"),
        (
            ["ANOTHER", "--normalise", "--max-length", "48", "--prompt-floor", "0"],
            "has no mean and deviation to normalise by:",
        ),
    ],
)
def test_what_cannot_be_right_is_named_before_torch_is_imported(
    folder: Path, tmp_path: Path, arguments: list[str], sentence: str | None
) -> None:
    """Importing torch and transformers takes seconds, and a wrong command needs neither."""
    another = tmp_path / "another"  # a model that was not trained here
    another.mkdir()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["reward"]
    (another / "config.json").write_text(json.dumps(config), encoding="utf-8")
    places = {"MODEL": str(folder), "ANOTHER": str(another)}
    program = ENDS.format(arguments=[places.get(word, word) for word in arguments], slow=SLOW)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    status, _, modules = done.stdout.splitlines()[-1].partition(" ")
    assert modules == "[]"
    assert status == ("2" if sentence else "0")
    assert (sentence or "") in done.stderr


def test_importing_the_function_takes_no_torch() -> None:
    program = (
        f"import sys; from reward.score import score; print(sorted({SLOW} & {{*sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["itself", "hard link", "symbolic link"])
def test_the_input_is_no_output(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "Hi", "response": "Hello"}\n')
    before = source.read_bytes()
    if kind == "itself":
        target = source
    elif kind == "hard link":
        target.hardlink_to(source)
    else:
        target.symlink_to(source)
    assert status(monkeypatch, folder, "--input", source, "--output", target) == 2
    said = capsys.readouterr().err
    expected = "is a symbolic link" if kind == "symbolic link" else "is the input as well: name an"
    assert f"score: {target} {expected}" in said
    assert source.read_bytes() == target.read_bytes() == before


def test_stdin_and_stdout_may_be_one_file_as_well(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b'{"prompt": "Hi", "response": "Hello"}\n')
    before = rows.read_bytes()
    command = [sys.executable, "-m", "reward.score", str(folder)]
    for further, said in (
        (["--output", str(rows)], f"score: {rows} is the input as well: name another output.\n"),
        ([], "score: stdout is the input as well (/dev/stdin): send the rows elsewhere.\n"),
    ):
        with rows.open("rb") as source, rows.open("ab") as sink:
            done = subprocess.run(
                [*command, *further],
                cwd=PROJECT,
                stdin=source,
                stdout=sink,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stderr) == (2, said)
        assert rows.read_bytes() == before


def test_shards_do_not_replace_one_another(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    table = pa.table({"prompt": ["Hi"], "response": ["Hello"]})
    for name in ("a", "b"):
        pq.write_table(table, tmp_path / f"in/{name}.parquet")
    arguments = ("--input", tmp_path / "in", "--output", tmp_path / "out")
    (tmp_path / "out/b.parquet").hardlink_to(tmp_path / "in/a.parquet")
    assert status(monkeypatch, folder, *arguments) == 2
    assert "out/b.parquet is the input as well" in capsys.readouterr().err
    (tmp_path / "out/b.parquet").unlink()
    (tmp_path / "out/b.parquet").symlink_to("elsewhere")
    assert status(monkeypatch, folder, *arguments) == 2
    assert "out/b.parquet is a symbolic link" in capsys.readouterr().err
    assert not (tmp_path / "out/a.parquet").exists()


def test_a_line_that_is_too_long_is_named_and_the_next_one_scored(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("reward.pairs.lines.LINE_BYTES", 1000)
    good = b'{"prompt": "Hi", "response": "Hello"}\n'
    (tmp_path / "in.jsonl").write_bytes(good + b"x" * 2500 + b"\n" + good)
    output = tmp_path / "out.jsonl"
    assert status(monkeypatch, folder, "--input", tmp_path / "in.jsonl", "--output", output) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "score: line 2: too long",
        "score: 3 rows, 2 scored",
    ]
    assert len(output.read_bytes().splitlines()) == 2
