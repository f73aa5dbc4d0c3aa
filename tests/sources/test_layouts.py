"""reward.sources.layouts: which files of a repository are which split."""

import json
from pathlib import Path
from typing import Any

import pytest

from reward.harness.errors import InputError
from reward.sources.catalogue import Dataset
from reward.sources.layouts import Layout, find_layout


def layout(names: list[str], card: dict[str, Any] | None = None, **entry: Any) -> Layout:
    def path_of(name: str) -> Path:
        raise AssertionError(f"{name} was fetched")

    dataset = Dataset.model_validate({"source": "someone/pairs", **entry})
    return find_layout(dataset, names, card or {}, path_of)


def configs(**given: Any) -> dict[str, Any]:
    return {"configs": [{"config_name": name, **values} for name, values in given.items()]}


LANGUAGES = ["README.md", "en/pairs.jsonl", "zh/pairs.jsonl"]
FOLDERS = configs(en={"data_dir": "en"}, zh={"data_dir": "zh"})


def test_a_configuration_has_the_files_of_its_folder_alone() -> None:
    for name in ("en", "zh"):
        found = layout(LANGUAGES, FOLDERS, config=name)
        assert found == Layout(name, {"train": [f"{name}/pairs.jsonl"]}, [])
    with pytest.raises(InputError, match=r"several configs \(there are: en, zh\): name one of"):
        layout(LANGUAGES, FOLDERS)
    with pytest.raises(InputError, match=r"has no config de \(there are: en, zh\)"):
        layout(LANGUAGES, FOLDERS, config="de")


def test_splits_and_patterns_are_below_the_folder_of_a_configuration() -> None:
    names = ["en/test/1.csv", "en/train/1.csv", "en/train/2.csv", "train/1.csv", "zh/1.csv"]
    card = configs(
        names={"data_dir": "en"},
        patterns={"data_dir": "./en/", "data_files": [{"split": "all", "path": ["*/1.csv"]}]},
    )
    assert layout(names, card, config="names").splits == {
        "train": ["en/train/1.csv", "en/train/2.csv"],
        "test": ["en/test/1.csv"],
    }
    assert layout(names, card, config="patterns").splits == {"all": names[:2]}


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (configs(one={"data_files": "1.csv"}), "one"),
        (configs(one={"data_files": "1.csv"}, default={"data_files": "2.csv"}), "default"),
        (
            configs(one={"data_files": "1.csv"}, two={"data_files": "2.csv", "default": True}),
            "two",
        ),
    ],
)
def test_a_default_configuration_is_read_where_none_is_named(
    default: dict[str, Any], expected: str
) -> None:
    found = layout(["1.csv", "2.csv"], default)
    assert found.config == expected
    assert found.splits == {"train": ["1.csv" if expected == "one" else "2.csv"]}


def test_an_entry_names_folder_and_files_itself() -> None:
    names = ["a/1.jsonl", "a/b/2.jsonl", "b/3.jsonl", "c.jsonl"]
    found = layout(names, FOLDERS, data_dir="a")
    assert found == Layout(None, {"train": ["a/1.jsonl", "a/b/2.jsonl"]}, [])
    assert layout(names, data_files="*/*.jsonl").splits == {"train": ["a/1.jsonl", "b/3.jsonl"]}
    assert layout(names, data_files=["c.jsonl", "a/**"]).splits["train"] == ["c.jsonl", *names[:2]]
    assert layout(names, data_files="**/2.jsonl", data_dir="a").splits["train"] == ["a/b/2.jsonl"]
    with pytest.raises(InputError, match="config=en of the dataset someone/pairs has files of its"):
        layout(LANGUAGES, FOLDERS, config="en", data_dir="zh")
    with pytest.raises(InputError, match=r"no files of a kind that is read here in d \("):
        layout(names, data_dir="d")


def test_patterns_match_as_the_library_has_it() -> None:
    """Where fnmatch does not: its star crosses slashes and takes hidden files."""
    names = [".cache/a.jsonl", "__x__/a.jsonl", "a.jsonl", "b/a.jsonl", "b/c/a.jsonl", "train.txt"]
    assert layout(names, data_files="*.jsonl").splits == {"train": ["a.jsonl"]}
    assert layout(names, data_files="**/*.jsonl").splits["train"] == names[2:5]
    assert layout(names).splits["train"] == names[2:5]
    assert layout(names, data_files=["a.jsonl", "**/a.jsonl"]).splits["train"] == names[2:5]
    assert layout(["state.json", "a.json", "b.json"], data_files="a*").splits == {
        "train": ["a.json"]
    }
    assert layout(["dataset_dict.json", "a.jsonl"]).splits == {"train": ["a.jsonl"]}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["data/my.set-00000-of-00001.parquet"], {"my.set": 1}),
        (["train-00000.parquet", "dev.parquet"], {"train": 1, "validation": 1}),
        (["trainer/a.json", "b.json"], {"train": 2}),
        (["pairs.eval.jsonl", "pairs.training.jsonl"], {"train": 1, "test": 1}),
    ],
)
def test_splits_by_names(names: list[str], expected: dict[str, int]) -> None:
    assert {split: len(found) for split, found in layout(names).splits.items()} == expected


def test_of_several_kinds_the_most_frequent_is_read_and_the_rest_named() -> None:
    found = layout(["a.jsonl", "b.jsonl.gz", "meta.csv"])
    assert found == Layout(None, {"train": ["a.jsonl", "b.jsonl.gz"]}, ["meta.csv"])
    same = layout(["pairs.csv", "pairs.json", "pairs.parquet"])
    assert same == Layout(None, {"train": ["pairs.parquet"]}, ["pairs.csv", "pairs.json"])


@pytest.mark.parametrize(
    "configurations",
    [
        "en",
        ["en"],
        [None],
        {"config_name": "en"},
        [{"data_dir": "en"}],
        [{"config_name": ["en"]}],
        [{"config_name": "en", "data_files": 7}],
        [{"config_name": "en", "data_files": [{"split": 7, "path": "a"}]}],
        [{"config_name": "en", "data_files": [{"split": "a-b", "path": "a"}]}],
        [{"config_name": "en", "data_files": [{"path": "a"}]}],
    ],
)
def test_a_card_that_cannot_be_understood(configurations: Any) -> None:
    with pytest.raises(InputError, match=r"^The configurations in the README\.md of someone/pairs"):
        layout(LANGUAGES, {"configs": configurations})
    # What a card says of columns is not looked at.
    card = configs(en={"data_dir": "en", "features": 7, "sep": []})
    assert layout(LANGUAGES, card).splits == {"train": ["en/pairs.jsonl"]}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"data_dir": "../elsewhere"}, "is outside of the dataset"),
        ({"data_dir": "/etc"}, "is outside of the dataset"),
        ({"data_files": "/etc/*.json"}, "leads out of it"),
        ({"data_files": "../*.json"}, "leads out of it"),
        ({"data_files": "https://example.org/a.json"}, "leads out of it"),
        ({"data_files": "zip://*.json::a.zip"}, "leads out of it"),
        ({"data_files": "*a*a*a*a.json"}, "has more than 3 stars between two slashes"),
        ({"data_files": "**/a/**/a/**/a/**/a.json"}, "has more than 3 times **"),
    ],
)
def test_files_outside_and_slow_patterns_are_refused(entry: dict[str, Any], sentence: str) -> None:
    card = configs(all=entry)
    for given in ({"card": card}, entry):
        with pytest.raises(InputError) as caught:
            layout(LANGUAGES, **given)
        assert sentence in str(caught.value)


class Saved:
    """A folder as `save_to_disk` leaves it, with a file of a cache in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, name: str, content: Any = None) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(json.dumps(content))

    def find(self, **entry: str) -> Layout:
        names = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*.*")]
        dataset = Dataset.model_validate({"source": str(self.folder), **entry})
        return find_layout(dataset, sorted(names), {}, lambda name: self.folder / name)


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    folder = Saved(tmp_path)
    for split in ("train_prefs", "test"):
        files = ["data-00001-of-00002.arrow", "data-00000-of-00002.arrow"]
        for name in (*files, "cache-17.arrow", "dataset_info.json"):
            folder.write(f"{split}/{name}")
        folder.write(f"{split}/state.json", {"_data_files": [{"filename": one} for one in files]})
    folder.write("dataset_dict.json", {"splits": ["train_prefs", "test"]})
    return folder


def test_a_saved_set_has_the_splits_and_files_that_it_names(saved: Saved) -> None:
    for found in (saved.find(), saved.find(data_dir=".")):
        assert found.splits == {
            split: [f"{split}/data-00001-of-00002.arrow", f"{split}/data-00000-of-00002.arrow"]
            for split in ("train_prefs", "test")
        }
    assert saved.find(data_dir="test").splits == {
        "train": ["test/data-00001-of-00002.arrow", "test/data-00000-of-00002.arrow"]
    }


@pytest.mark.parametrize(
    "state",
    [
        {"_data_files": [{"filename": "data-00002-of-00002.arrow"}]},
        {"_data_files": [{"filename": "../state.json"}]},
        {"_data_files": ["data-00000-of-00002.arrow"]},
        {"_data_files": 7},
        {},
        [],
    ],
)
def test_a_saved_set_that_lacks_what_it_names(saved: Saved, state: Any) -> None:
    saved.write("test/state.json", state)
    with pytest.raises(InputError, match=r"save the dataset again"):
        saved.find()


def test_a_saved_set_that_is_some_rows_of_its_files(saved: Saved) -> None:
    state = json.loads((saved.folder / "test/state.json").read_text())
    saved.write("test/state.json", state | {"_indices_data_files": [{"filename": "i.arrow"}]})
    with pytest.raises(InputError, match=r"has only some rows of its files, .*`flatten_indices"):
        saved.find()
