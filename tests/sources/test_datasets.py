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
        {"config_name": "b", "data_files": ["./b/1.jsonl", "b/2.jsonl"]},
        {"config_name": "gone", "data_files": "c/*"},
    ]
}
FILES = ["a/1.jsonl", "b/1.jsonl", "b/2.jsonl", "b/3.jsonl"]


def test_the_cards_configurations_say_which_files_are_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert files(monkeypatch, FILES, CARD, config="a") == ["a/1.jsonl"]
    assert files(monkeypatch, FILES, CARD, config="b", split="train") == FILES[1:3]
    assert capsys.readouterr().err.splitlines() == [
        "someone/pairs: configuration a, split train, 1 file: a/1.jsonl",
        "someone/pairs: configuration b, split train, 2 files: b/1.jsonl, b/2.jsonl",
    ]
    with pytest.raises(InputError, match=r"several configs \(there are: a, b, gone\)"):
        files(monkeypatch, FILES, CARD)
    with pytest.raises(InputError, match=r"read here for its configuration gone \(\.jsonl, "):
        files(monkeypatch, FILES, CARD, config="gone")


def test_files_of_several_folders_are_not_read_together_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["en/a.jsonl", "zh/a.jsonl"]
    assert files(monkeypatch, names, {}) == names
    line = "split train, 2 files: en/a.jsonl, zh/a.jsonl (of 2 folders; `data_dir` names one)"
    assert capsys.readouterr().err == f"someone/pairs: {line}\n"
    assert files(monkeypatch, [*names, "zh/\n\x1b[2J.csv"], {}) == names
    left_out = r"; not read, as most are of another kind: 1 file: zh/\n\x1b[2J.csv"
    assert capsys.readouterr().err == f"someone/pairs: {line}{left_out}\n"
    with pytest.raises(InputError, match=r"has a file \\ud800\.csv that no machine can have"):
        files(monkeypatch, ["\ud800.csv"], {})
    assert files(monkeypatch, names[:1], {}) == names[:1]
    assert capsys.readouterr().err == ""


def test_a_numbered_file_that_is_missing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    train = [f"data/train-0000{number}-of-00003-{number}f.parquet" for number in range(3)]
    other = ["data/test-00000-of-00001.parquet", *(f"x-0000{n}-of-00002.parquet" for n in (1, 2))]
    assert files(monkeypatch, [*train, *other], {}, split="train") == train
    there = [*train[::2], *other]
    with pytest.raises(InputError) as caught:
        files(monkeypatch, there, {}, split="train")
    assert str(caught.value) == (
        "The dataset someone/pairs has only 2 of the 3 files data/train-*-of-00003: add the "
        "others, or name those that are to be read as `data_files` in its entry of params.yaml."
    )
    assert files(monkeypatch, there, {}, split="test") == other[:1]
    assert files(monkeypatch, there, {}, data_files="data/train-*") == train[::2]


def test_a_folder_is_read_as_a_repository_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.parquet", "a.parquet", "more/train.parquet", ".git/c.parquet", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = str(tmp_path)

    def read(**entry: Any) -> dict[str, Path]:
        return open_dataset(Dataset(source=folder, **entry)).files

    assert read() == {"more/train.parquet": tmp_path / "more/train.parquet"}
    assert [*read(data_files="*")] == ["a.parquet", "b.parquet"]
    assert "split train, 2 files: a.parquet, b.parquet\n" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"has no split test \(there are: train\)"):
        read(split="test")
    with pytest.raises(InputError, match=r"revision=main is for hub repositories, and .* a folder"):
        read(revision="main")
    readme = "---\nconfigs:\n- config_name: one\n  data_files: a.*\n---\n"
    (tmp_path / "README.md").write_text(readme)
    assert open_dataset(Dataset(source=folder)).config == "one"
    assert [*read()] == ["a.parquet"]
    (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(InputError, match=r"The metadata at the top of .*README\.md cannot be read"):
        read()


@pytest.mark.parametrize("key", ["config", "split", "data_dir", "data_files"])
def test_a_file_has_no_parts_to_choose(tmp_path: Path, key: str) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match=f"{key}=x is for hub repositories and folders, and .* is"):
        open_dataset(Dataset.model_validate({"source": f"{tmp_path}/a.csv", key: "x"}))


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
