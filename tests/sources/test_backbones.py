"""reward.sources.backbones: folders and repositories of models, whole and incomplete."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer

from tests.support.loopback_hub import Hub, Repository
from tests.support.workplace import MODEL, Workplace, make_tokenizer, slow_files


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    with place.hub() as running:
        yield running


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
            "from pathlib import Path; from reward.sources.backbones import weights_folder; "
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
    sentence = weights().stderr.splitlines()[-1]
    assert "model.safetensors of the model someone/model" in sentence
    assert "is now removed; run again" in sentence
    assert not cached.exists()
    assert weights().stdout == "weights\n"
