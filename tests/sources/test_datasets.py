"""reward.sources.datasets: which files of a repository or of a pattern are a split."""

from pathlib import Path
from typing import Any

import pytest

from reward.harness.errors import InputError
from reward.sources import hub
from reward.sources.catalogue import Dataset
from reward.sources.datasets import open_dataset


def files(
    monkeypatch: pytest.MonkeyPatch, names: list[str], card: dict[str, Any], **entry: str
) -> list[str]:
    listed = dict.fromkeys(sorted(names))
    repository = hub.Repository("someone/pairs", "dataset", "c0ffee", listed, card)
    monkeypatch.setattr(hub, "resolve", lambda name, kind, revision: repository)
    monkeypatch.setattr(
        hub, "fetch", lambda name, kind, commit, file, expected: hub.Fetched(Path(file), "a hash")
    )
    return list(open_dataset(Dataset.model_validate({"source": "someone/pairs", **entry})).files)


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        # ultrafeedback_binarized and its kin: data/SPLIT-00000-of-00001.parquet
        (
            ["data/train_prefs-00000-of-00001.parquet", "data/test_prefs-00000-of-00001.parquet"],
            "train_prefs",
            ["data/train_prefs-00000-of-00001.parquet"],
        ),
        # nvidia/HelpSteer2: the split in the file's name, further sets in folders
        (
            ["train.jsonl.gz", "validation.jsonl.gz", "preference/preference.jsonl.gz"],
            "train",
            ["train.jsonl.gz"],
        ),
        # hh-rlhf: the same split in several folders
        (
            ["a/train.jsonl.gz", "a/test.jsonl.gz", "b/train.jsonl.gz", "b/test.jsonl.gz"],
            "test",
            ["a/test.jsonl.gz", "b/test.jsonl.gz"],
        ),
        (["dev/1.jsonl", "dev/2.jsonl", "train/1.jsonl"], "validation", ["dev/1", "dev/2"]),
        # No split in any name: all of it is train.
        (["flan.jsonl", "sharegpt.jsonl", "README.md", ".hidden.jsonl"], None, ["flan.", "share"]),
    ],
)
def test_splits_are_found_by_name(
    monkeypatch: pytest.MonkeyPatch, names: list[str], split: str | None, expected: list[str]
) -> None:
    entry = {"split": split} if split else {}
    found = files(monkeypatch, names, {}, **entry)
    assert len(found) == len(expected)
    assert all(name.startswith(start) for name, start in zip(found, expected, strict=True))


CARD = {
    "configs": [
        {"config_name": "a", "data_files": [{"split": "train", "path": "a/*"}]},
        {"config_name": "b", "data_files": {"train": ["./b/1.jsonl", "b/2.jsonl"]}},
        "nonsense",
        {"config_name": "outside", "data_files": "/etc/*"},
    ]
}
FILES = ["a/1.jsonl", "b/1.jsonl", "b/2.jsonl", "b/3.jsonl"]


def test_the_cards_configurations_say_which_files_are_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert files(monkeypatch, FILES, CARD, config="a") == ["a/1.jsonl"]
    assert files(monkeypatch, FILES, CARD, config="b", split="train") == FILES[1:3]
    with pytest.raises(InputError, match=r"several configs \(there are: a, b, outside\)"):
        files(monkeypatch, FILES, CARD)
    with pytest.raises(InputError, match="has no files of a kind"):
        files(monkeypatch, FILES, CARD, config="outside")


def test_a_pattern_stands_for_its_files_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.jsonl", "a/2.jsonl", "a/1.jsonl", "a/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a/1.jsonl", "a/2.jsonl", "b/2.jsonl"]
    absolute = open_dataset(Dataset(source=f"{tmp_path}/*/*.jsonl")).files
    assert list(absolute.values()) == [tmp_path / name for name in names]
    monkeypatch.chdir(tmp_path)
    assert list(open_dataset(Dataset(source="*/*.jsonl")).files) == names
    assert list(open_dataset(Dataset(source="**/1.jsonl")).files) == ["a/1.jsonl"]
    with pytest.raises(InputError, match=r"c/\*\.jsonl is not a pattern of files on this machine"):
        open_dataset(Dataset(source="c/*.jsonl"))
