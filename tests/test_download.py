"""stages.download: real processes against files and a hub on this machine, whole and broken."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from reward.preferences import SCHEMA
from tests.loopback_hub import Hub, Repository, serve

ROOT = Path(__file__).parent.parent
DATASET, MODEL = "someone/pairs", "someone/model"


def row(number: int, **changes: Any) -> dict[str, Any]:
    prompt = {"role": "user", "content": f"Question {number}?"}
    return {
        "prompt": prompt["content"],
        "chosen": [prompt, {"role": "assistant", "content": f"Right {number}."}],
        "rejected": [prompt, {"role": "assistant", "content": f"Wrong {number}."}],
        "chosen_rating": 3.2,
        "rejected_rating": 1.0,
        **changes,
    }


ROWS = [row(number) for number in range(6)]
QUALITY = yaml.safe_load((ROOT / "params.yaml").read_text())["download"]["quality"]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(values) + "\n" for values in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a right answer, a wrong answer"], trainer)
    return tokenizer


CONFIG = json.dumps({"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2}).encode()
TOKENIZER_CONFIG = json.dumps(
    {
        "tokenizer_class": "GPT2Tokenizer",
        "eos_token": "<|endoftext|>",
        "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
    }
).encode()
FAST = {
    "config.json": CONFIG,
    "tokenizer.json": make_tokenizer().to_str().encode(),
    "tokenizer_config.json": TOKENIZER_CONFIG,
}


def slow_files(folder: Path) -> dict[str, bytes]:
    """The same tokenizer as its vocab.json and merges.txt."""
    make_tokenizer().model.save(str(folder))
    return {
        "config.json": CONFIG,
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "vocab.json": (folder / "vocab.json").read_bytes(),
        "merges.txt": (folder / "merges.txt").read_bytes(),
    }


class Workplace:
    """A folder with a params.yaml, and the stage run in it as DVC runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens on the discard port
        }
        self.dataset: dict[str, Any] = {"source": "pairs.jsonl"}
        self.backbone: dict[str, Any] = {"source": "./model", "learning_rate": 1e-3}
        self.unreadable_rows = 0
        self.quality = dict(QUALITY)
        (folder / "pairs.jsonl").write_bytes(json_lines(ROWS))
        (folder / "model").mkdir()
        for name, content in FAST.items():
            (folder / "model" / name).write_bytes(content)

    def use(self, hub: Hub) -> None:
        self.environment["HF_ENDPOINT"] = hub.url

    def run(self, name: str = "mine") -> subprocess.CompletedProcess[str]:
        params = {
            "dataset": name,
            "backbone": "small",
            "datasets": {"mine": self.dataset},
            "backbones": {"small": self.backbone},
            "download": {"unreadable_rows": self.unreadable_rows, "quality": self.quality},
        }
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        command = ["-m", "stages.download", "--raw", "data/raw", "--backbone", "data/backbone"]
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def succeed(self) -> str:
        """Run and return what was said."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        return done.stderr

    def fail(self, name: str = "mine") -> str:
        """Run and return the one sentence in which it ended; nothing is left behind."""
        done = self.run(name)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        data = self.folder / "data"
        assert not data.exists() or not list(data.iterdir())
        last = done.stderr.splitlines()[-1]
        assert last.startswith("download: ")
        assert last.endswith(".")
        return last

    def source(self, output: str) -> dict[str, Any]:
        return json.loads((self.folder / "data" / output / "source.json").read_text())

    def pairs(self) -> pa.Table:
        return pq.read_table(self.folder / "data/raw/pairs.parquet")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


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


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_local_files_become_canonical_records(place: Workplace) -> None:
    place.succeed()
    pairs = place.pairs()
    assert pairs.schema == SCHEMA
    assert pairs.drop_columns("pair_id").to_pylist()[2] == {
        "prompt": [{"role": "user", "content": "Question 2?"}],
        "chosen": "Right 2.",
        "rejected": "Wrong 2.",
        "chosen_rating": 3.2,
        "rejected_rating": 1.0,
        "source": "mine",
    }
    counts = {"rows": 6, "candidates": 6, "pairs": 6, "dropped": {}, "kept_with": {}}
    assert place.source("raw") == counts | {
        "sources": {
            "mine": {
                "source": "pairs.jsonl",
                "format": "pairs",
                "config": None,
                "split": None,
                "revision": None,
                "commit": None,
                "files": {"pairs.jsonl": digest(json_lines(ROWS))},
                "weight": None,
                **counts,
            }
        }
    }
    assert place.source("backbone") == {
        "source": "./model",
        "revision": None,
        "commit": None,
        "files": {name: digest(content) for name, content in FAST.items()},
        "weights": [],
    }
    for name, content in FAST.items():
        assert (place.folder / "data/backbone" / name).read_bytes() == content


def test_the_same_input_gives_the_same_bytes(place: Workplace) -> None:
    outputs = []
    for _ in range(2):
        place.succeed()
        files = sorted(path for path in (place.folder / "data").rglob("*") if path.is_file())
        outputs.append({path: path.read_bytes() for path in files})
    assert outputs[0] == outputs[1]


def test_bad_rows_are_counted_by_reason_and_their_numbers_told(place: Workplace) -> None:
    rows = [
        row(0),
        *(row(number, rejected_rating=3.2) for number in range(1, 8)),
        row(0, chosen_rating=4.0),
        row(9, chosen="\ud800"),
        row(10, rejected=None),
    ]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    said = place.succeed()
    assert "pairs.jsonl: format pairs, by its columns" in said
    assert (
        "pairs.jsonl: 11 rows read, 1 pairs kept; dropped: 7 tie (rows 2, 3, 4, 5, 6, ...), "
        "1 broken text (row 10), 1 missing rejected (row 11), 1 duplicate (row 9)"
    ) in said
    assert place.source("raw")["dropped"] == {
        "broken_text": 1,
        "duplicate": 1,
        "missing_rejected": 1,
        "tie": 7,
    }


def test_a_local_backbone_brings_its_weights(place: Workplace) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    content = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": b"one",
        "model-2.safetensors": b"two",
        "pytorch_model.bin": b"not needed",
    }
    for name, data in content.items():
        (place.folder / "model" / name).write_bytes(data)
    place.succeed()
    assert place.source("backbone")["weights"] == sorted(content)[:3]
    assert not (place.folder / "data/backbone/pytorch_model.bin").exists()
    assert (place.folder / "data/backbone/model-2.safetensors").read_bytes() == b"two"


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


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"config.json": None}, "has no config.json (there are: model-1.safetensors, "),
        ({"model-1.safetensors": None}, "lacks model-1.safetensors, which its model.safeten"),
        ({"model.safetensors.index.json": b"{}"}, "is not an index of weight files"),
        ({"tokenizer.json": None}, "has no tokenizer (no tokenizer.json, "),
        ({"tokenizer.json": None, "tokenizer.model": b"?"}, "cannot be converted"),
    ],
)
def test_what_a_backbone_lacks_is_named(
    place: Workplace, files: dict[str, bytes | None], sentence: str
) -> None:
    index = {"weight_map": {"a": "model-1.safetensors"}}
    whole = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": b"one",
    }
    for name, content in (whole | files).items():
        path = place.folder / "model" / name
        path.write_bytes(content) if content is not None else path.unlink(missing_ok=True)
    assert sentence in place.fail()


def test_an_unreachable_hub(place: Workplace) -> None:
    place.dataset = {"source": DATASET}
    assert "The hub at http://127.0.0.1:9 did not deliver the dataset" in place.fail()


@pytest.mark.parametrize(
    ("dataset", "content", "sentence"),
    [
        ({"source": "gone.jsonl"}, b"", "gone.jsonl is not a file on this machine"),
        ({"source": "pairs.jsonl", "split": "train"}, b"", "remove `split` from its entry"),
        ({"source": "pairs.jsonl"}, b"", "pairs.jsonl begins with no readable row"),
        ({"source": "pairs.jsonl", "format": "pairs"}, b"", "no column chosen and no column rejec"),
        ({"source": "shards/*.jsonl"}, b"", "shards/*.jsonl is not a pattern of files on this"),
        ({"source": "pairs.jsonl", "format": "rows"}, b"", "datasets.mine.format='rows' in params"),
        (
            {"source": "pairs.jsonl", "columns": {"chosen": "good"}},
            json_lines(ROWS),
            "has no column good (there are: prompt, chosen, rejected, ",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines([row(0, chosen=1), row(1, chosen=2)]),
            "The column chosen of pairs.jsonl holds int and not text or messages",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines(ROWS).decode().encode("utf-16"),
            "Line 1 of pairs.jsonl is not UTF-8: save the file in that encoding",
        ),
        (
            {"source": "model/../pairs.parquet"},
            parquet(ROWS)[:-100],
            "pairs.parquet is not a whole Parquet file",
        ),
        ({"source": "pairs.jsonl", "weight": 1.5}, b"", "datasets.mine.weight=1.5 in params.yaml"),
        ({"source": "pairs.jsonl", "attributes": {"a": 0}}, b"", "must sum to more than 0"),
        ({"mix": {"one": 0.5}}, b"", "mix.one=0.5 in params.yaml is not valid: a mix holds its"),
        ({"mix": {"one": {"weight": 0.5}}}, b"", "a weight for one that it does not describe"),
        ({"mix": {"one": {"source": "gone.jsonl", "weight": 1}}}, b"", "gone.jsonl is not a file"),
        ({"mix": {}}, b"", "either a `source` or a `mix` of datasets; give one"),
        (
            {"mix": {"one": {"source": "pairs.jsonl"}}, "weight": 0.5},
            b"",
            "beside a `mix` nothing is read; put the other keys into its datasets",
        ),
        (
            {"source": "pairs.jsonl"},
            json_lines([row(0, chosen="")]),
            "dropped: 1 empty response (row 1)): correct it or choose other data",
        ),
        (
            {"source": "pairs.jsonl"},
            b'{"question": "Why?", "chosen": []}\n',
            "no column rejected (there are: question, chosen)",
        ),
        ({"source": "pairs.jsonl"}, json_lines(ROWS) + b"{", "Line 7 of pairs.jsonl is not a JSON"),
    ],
)
def test_what_a_file_lacks_is_named(
    place: Workplace, dataset: dict[str, Any], content: bytes, sentence: str
) -> None:
    for name in ("pairs.jsonl", "pairs.parquet"):
        (place.folder / name).write_bytes(content)
    place.dataset = dataset
    assert sentence in place.fail()


def test_an_unknown_dataset_name(place: Workplace) -> None:
    assert "dataset=yours is not an entry of datasets" in place.fail("yours")


def ids(place: Workplace) -> list[str]:
    return place.pairs()["pair_id"].to_pylist()


def test_shards_give_the_same_pairs_as_one_file(place: Workplace) -> None:
    place.succeed()
    expected = place.pairs()
    (place.folder / "shards").mkdir()
    (place.folder / "shards/part-0.jsonl").write_bytes(json_lines(ROWS[:1]))
    (place.folder / "shards/part-1.parquet").write_bytes(parquet(ROWS[1:4]))
    (place.folder / "shards/part-2.parquet").write_bytes(parquet(ROWS[4:]))
    place.dataset = {"source": "shards/part-*"}
    place.succeed()
    assert place.pairs().equals(expected)
    assert list(place.source("raw")["sources"]["mine"]["files"]) == [
        "shards/part-0.jsonl",
        "shards/part-1.parquet",
        "shards/part-2.parquet",
    ]


def test_repeats_and_contradictions_over_the_whole_dataset(place: Workplace) -> None:
    swapped = row(1) | {"chosen": row(1)["rejected"], "rejected": row(1)["chosen"]}
    rows = [row(0), row(1), row(2), row(0), swapped, row(0)]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    said = place.succeed()
    assert "2 contradiction (rows 2, 5), 2 duplicate (rows 4, 6)" in said
    assert (place.source("raw")["pairs"], place.source("raw")["candidates"]) == (2, 6)
    assert place.source("raw")["dropped"] == {"contradiction": 2, "duplicate": 2}
    dropped = ids(place)
    assert len(dropped) == 2
    place.quality |= {"duplicate": "count", "contradiction": "ignore"}
    place.succeed()
    assert place.source("raw")["dropped"] == {}
    assert place.source("raw")["kept_with"] == {"duplicate": 2}
    assert len(ids(place)) == 6
    assert set(dropped) < set(ids(place))


def test_a_dataset_of_contradictions_alone(place: Workplace) -> None:
    swapped = row(1) | {"chosen": row(1)["rejected"], "rejected": row(1)["chosen"]}
    (place.folder / "pairs.jsonl").write_bytes(json_lines([row(1), swapped]))
    assert "no valid pair (2 rows read, 0 pairs kept; dropped: 2 contradiction" in place.fail()


def test_problems_that_are_only_counted(place: Workplace) -> None:
    rows = [*ROWS, row(6, chosen=[{"role": "assistant", "content": "A bell: \x07"}])]
    (place.folder / "pairs.jsonl").write_bytes(json_lines(rows))
    assert "7 pairs kept; kept with: 1 control characters (row 7)" in place.succeed()
    assert place.source("raw")["kept_with"] == {"control_characters": 1}
    place.quality["control_characters"] = "drop"
    place.succeed()
    assert place.source("raw")["dropped"] == {"control_characters": 1}


def test_unreadable_lines_are_tolerated_on_request(place: Workplace) -> None:
    (place.folder / "pairs.jsonl").write_bytes(json_lines(ROWS) + b"{\n")
    assert "Line 7 of pairs.jsonl is not a JSON object" in place.fail()
    place.unreadable_rows = 1
    place.succeed()
    assert place.source("raw")["dropped"] == {"unreadable": 1}
    assert (place.source("raw")["rows"], place.source("raw")["pairs"]) == (7, 6)


def test_datasets_are_mixed_by_weight_and_every_pair_keeps_its_source(place: Workplace) -> None:
    (place.folder / "one.jsonl").write_bytes(json_lines([row(number) for number in range(40)]))
    responses = [
        {"prompt": f"Question {number}?", "response": text, "stars": stars}
        for number in range(30, 50)
        for text, stars in ((f"Right {number}.", 5), (f"Wrong {number}.", 1))
    ]
    (place.folder / "two.parquet").write_bytes(parquet(responses))
    two = {"source": "two.parquet", "format": "ratings", "attributes": {"stars": 1}}
    place.dataset = {"mix": {"one": {"source": "one.jsonl", "weight": 0.5}, "two": two}}
    said = place.succeed()
    assert "two.parquet: format ratings, as its entry says" in said
    sources = place.pairs()["source"].to_pylist()
    # Ten pairs of the second are in the first as well, and stay there.
    assert (sources.count("one"), sources.count("two")) == (20, 10)
    raw = place.source("raw")
    assert raw["sources"]["one"]["dropped"] == {"beyond_weight": 20}
    assert raw["sources"]["two"]["dropped"] == {"duplicate": 10}
    assert (raw["rows"], raw["candidates"], raw["pairs"]) == (80, 60, 30)
    assert raw["dropped"] == {"beyond_weight": 20, "duplicate": 10}
    few = set(ids(place))
    place.dataset["mix"]["one"]["weight"] = 0.75
    place.succeed()
    assert few < set(ids(place))
    assert len(ids(place)) == 40
