"""reward.sources.places: paths and patterns distinguished from repositories."""

from pathlib import Path

import pytest

from reward.sources.places import is_path, is_pattern


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("someone/pairs", False),
        ("gpt2", False),
        ("here/now", True),
        ("./gone", True),
        ("/gone", True),
        ("gone/pairs.jsonl", True),
        ("pairs.jsonl.gz", True),
        ("data/sources/gone", True),
        ("shards/*.parquet", True),
        ("shards/part-[0-9]", True),
    ],
)
def test_a_path_is_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here/now").mkdir(parents=True)
    assert is_path(source) == expected


@pytest.mark.parametrize("name", ["pairs[1].jsonl", "what?.jsonl", "all*.jsonl"])
def test_a_file_that_exists_is_no_pattern(tmp_path: Path, name: str) -> None:
    source = str(tmp_path / name)
    assert is_pattern(source)
    (tmp_path / name).touch()
    assert not is_pattern(source)
    assert is_path(source)
