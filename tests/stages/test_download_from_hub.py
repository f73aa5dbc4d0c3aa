"""stages.download: real processes against a hub on this machine, whole and broken."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.loopback_hub import Hub, Repository
from tests.support.workplace import (
    DATASET,
    FAST,
    MODEL,
    ROWS,
    TOKENIZER_CONFIG,
    Workplace,
    digest,
    json_lines,
    parquet,
    row,
)


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    with place.hub() as running:
        yield running


def test_hub_repositories_are_fetched_by_commit(place: Workplace, hub: Hub) -> None:
    place.dataset = {"source": DATASET, "split": "average_rating", "revision": "main"}
    place.backbone |= {"source": MODEL}
    place.succeed()
    raw, backbone = place.source("raw")["sources"]["mine"], place.source("backbone")
    assert raw["commit"] == hub.repositories[f"datasets/{DATASET}"].commit
    assert (raw["rows"], raw["pairs"], raw["split"]) == (6, 6, "average_rating")
    assert raw["files"] == {
        "data/average_rating-00000-of-00002.parquet": digest(parquet(ROWS[:4])),
        "data/average_rating-00001-of-00002.parquet": digest(parquet(ROWS[4:])),
    }
    assert backbone["commit"] == hub.repositories[f"models/{MODEL}"].commit
    assert backbone["weights"] == ["model.safetensors"]
    assert backbone["files"]["model.safetensors"] == digest(b"weights")
    assert not (place.folder / "data/backbone/model.safetensors").exists()
    resolved = [path for path in hub.requests if "/resolve/" in path]
    assert resolved
    assert not any("/resolve/main/" in path for path in resolved)
    assert hub.fetched() == {*raw["files"], *backbone["files"]}


def test_splits_by_the_repositorys_card(place: Workplace, hub: Hub) -> None:
    readme = b"""---
configs:
- config_name: first
  data_files: first/*.jsonl
- config_name: second
  default: true
  data_files:
  - split: good
    path: second/good-*
  - split: bad
    path: [second/bad.jsonl]
---
# Pairs
"""
    files = {
        "README.md": readme,
        "first/a.jsonl": json_lines(ROWS[:1]),
        "second/good-1.jsonl": json_lines(ROWS[:2]),
        "second/good-2.jsonl": json_lines(ROWS[2:5]),
        "second/bad.jsonl": json_lines(ROWS[5:]),
    }
    hub.repositories[f"datasets/{DATASET}"] = Repository(files)
    place.dataset = {"source": DATASET}
    assert "(there are: good, bad): name one of them as `split`" in place.fail()
    place.dataset["split"] = "good"
    place.succeed()
    assert place.source("raw")["rows"] == 5
    place.dataset = {"source": DATASET, "config": "first"}
    place.succeed()
    assert place.source("raw")["sources"]["mine"]["split"] == "train"
    assert place.source("raw")["rows"] == 1


def test_a_language_is_one_folder_of_the_repository(place: Workplace, hub: Hub) -> None:
    readme = (
        b"---\nconfigs:\n- {config_name: en, data_dir: en}\n- {config_name: zh, data_dir: zh}\n---"
    )
    files = {
        "README.md": readme + b"\n# Pairs\n",
        "en/pairs.json": json.dumps(ROWS[:2]).encode(),
        "zh/pairs.json": json.dumps(ROWS[2:]).encode(),
    }
    hub.repositories[f"datasets/{DATASET}"] = Repository(files)
    place.dataset = {"source": DATASET}
    assert "has several configs (there are: en, zh): name one of them as `config`" in place.fail()
    for config, rows in (("en", 2), ("zh", 4)):
        place.dataset["config"] = config
        assert f"configuration {config}, split train, 1 file: {config}/pairs." in place.succeed()
        raw = place.source("raw")["sources"]["mine"]
        assert (raw["config"], raw["rows"], [*raw["files"]]) == (
            config,
            rows,
            [f"{config}/pairs.json"],
        )


def test_what_can_be_told_without_weights_is_told_before_they_are_fetched(
    place: Workplace, hub: Hub
) -> None:
    place.backbone |= {"source": MODEL}
    (place.folder / "pairs.jsonl").write_bytes(json_lines([row(0, chosen=" ")]))
    assert "has no valid pair" in place.fail()
    assert "config.json" in hub.fetched()
    (place.folder / "pairs.jsonl").write_bytes(json_lines(ROWS))
    settings = json.loads(TOKENIZER_CONFIG) | {"chat_template": "{% for %}"}
    files = {**FAST, "tokenizer_config.json": json.dumps(settings).encode()}
    hub.repositories[f"models/{MODEL}"] = Repository({**files, "model.safetensors": b"weights"})
    assert "The chat template in someone/model is not valid (" in place.fail()
    assert not hub.fetched() & {"model.safetensors", "pytorch_model.bin"}


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ({"source": "someone/nothing"}, "neither a path on this machine nor a dataset repository"),
        ({"source": "someone/gated"}, "is gated: accept its conditions there and log in"),
        ({"source": DATASET, "revision": "v9"}, "has no revision v9"),
        ({"source": DATASET, "split": "train"}, "no split train (there are: average_rating, other"),
        ({"source": DATASET, "config": "x"}, "has no configurations"),
        ({"source": "someone/empty"}, "has no files of a kind that is read here"),
        ({"source": "someone/outside"}, "lists a file outside of the repository"),
    ],
)
def test_what_a_hub_lacks_is_named(
    place: Workplace, hub: Hub, dataset: dict[str, Any], sentence: str
) -> None:
    hub.repositories |= {
        "datasets/someone/gated": Repository({}, gated=True),
        "datasets/someone/empty": Repository({"pairs.txt": b"", "config.json": b"{}"}),
        "datasets/someone/outside": Repository({"../../pairs.jsonl": json_lines(ROWS)}),
    }
    place.dataset = dataset
    assert sentence in place.fail()
