"""stages.download: real processes against a hub on this machine, whole and broken."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.loopback_hub import Hub, Repository, serve
from tests.workplace import (
    DATASET,
    FAST,
    MODEL,
    ROWS,
    Workplace,
    digest,
    json_lines,
    make_tokenizer,
    parquet,
    slow_files,
)


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    repositories = {
        f"datasets/{DATASET}": Repository(
            {
                "data/average_rating-00000-of-00002.parquet": parquet(ROWS[:4]),
                "data/average_rating-00001-of-00002.parquet": parquet(ROWS[4:]),
                "data/other-00000-of-00001.parquet": parquet(ROWS[:1]),
            }
        ),
        f"models/{MODEL}": Repository(
            {**FAST, "model.safetensors": b"weights", "pytorch_model.bin": b"a pickle"}
        ),
    }
    with serve(repositories) as running:
        place.use(running)
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


def test_a_repository_with_bin_weights_and_no_tokenizer_json(place: Workplace, hub: Hub) -> None:
    files = {
        **slow_files(place.folder),
        "pytorch_model.bin": b"a pickle",
        "flax_model.msgpack": b"not needed",
        "tf_model.h5": b"not needed",
    }
    hub.repositories[f"models/{MODEL}"] = Repository(files)
    place.backbone |= {"source": MODEL}
    place.succeed()
    folder = place.folder / "data/backbone"
    converted = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = "a right answer, é\n"
    assert converted.encode(text).ids == make_tokenizer().encode(text).ids
    assert "message.content" in (folder / "chat_template.jinja").read_text()
    assert place.source("backbone")["weights"] == ["pytorch_model.bin"]
    assert not hub.fetched() & {"flax_model.msgpack", "tf_model.h5"}


def test_weights_come_back_from_the_cache_or_the_hub(place: Workplace, hub: Hub) -> None:
    place.backbone |= {"source": MODEL}
    place.succeed()

    def weights() -> subprocess.CompletedProcess[str]:
        code = (
            "from pathlib import Path; from reward.backbone import weights_folder; "
            "print((weights_folder(Path('data/backbone')) / 'model.safetensors').read_text())"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=place.folder,
            env=place.environment,
            capture_output=True,
            text=True,
        )

    hub.requests.clear()
    assert weights().stdout == "weights\n"
    assert hub.fetched() == set()
    place.environment["HF_HOME"] = str(place.folder / "another machine")
    assert weights().stdout == "weights\n"
    assert hub.fetched() == {"config.json", "model.safetensors"}
    cached = next((place.folder / "another machine").rglob("model.safetensors")).resolve()
    cached.write_text("tampered")
    assert "is not the file that download recorded" in weights().stderr


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


@pytest.mark.slow
def test_a_hub_that_stops_half_way_ends_the_run(place: Workplace, hub: Hub) -> None:
    place.dataset = {"source": DATASET, "split": "other"}
    repository = hub.repositories[f"datasets/{DATASET}"]
    repository.stall = "data/other-00000-of-00001.parquet"
    started = time.monotonic()
    assert "did not deliver the dataset someone/pairs" in place.fail()
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_hub_that_starts_a_large_file_again_and_again_ends_the_run(
    place: Workplace, hub: Hub
) -> None:
    name = "data/other-00000-of-00001.parquet"
    files = {name: bytes(30_000_000)}  # more than one of the client's chunks of 10 MiB in a half
    hub.repositories[f"datasets/{DATASET}"] = Repository(files, stall=name, resumes=False)
    place.dataset = {"source": DATASET, "split": "other"}
    assert "broke off in the middle of a file and cannot resume" in place.fail()


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
        "datasets/someone/empty": Repository({"pairs.csv": b"", "config.json": b"{}"}),
        "datasets/someone/outside": Repository({"../../pairs.jsonl": json_lines(ROWS)}),
    }
    place.dataset = dataset
    assert sentence in place.fail()


def test_an_unreachable_hub(place: Workplace) -> None:
    place.dataset = {"source": DATASET}
    assert "The hub at http://127.0.0.1:9 did not deliver the dataset" in place.fail()
