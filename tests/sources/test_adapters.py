"""reward/sources/adapters.py: folders of PEFT as backbones, by the stage download."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reward.harness.errors import InputError
from reward.sources.adapters import base_of
from tests.support.loopback_hub import Hub, Repository
from tests.support.workplace import CONFIG, FAST, MODEL, Workplace

SETTINGS: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": MODEL,
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["c_attn"],
}
ADAPTER = "someone/adapter"


def adapter(**values: Any) -> dict[str, bytes]:
    return {
        "adapter_config.json": json.dumps(SETTINGS | values).encode(),
        "adapter_model.safetensors": b"an adapter",
        "training_args.bin": b"a pickle that nobody needs",
    }


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    with place.hub() as running:
        running.repositories[f"models/{ADAPTER}"] = Repository(adapter())
        place.backbone |= {"source": ADAPTER}
        yield running


def files_of(place: Workplace) -> set[str]:
    folder = place.folder / "data/backbone"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_adapter_of_the_hub_is_fetched_with_the_base_that_it_names(
    place: Workplace, hub: Hub
) -> None:
    printed = place.succeed()
    assert f"{ADAPTER}: an adapter, merged into {MODEL}" in printed
    assert files_of(place) == {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "source.json"),
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
    }
    source = place.source("backbone")
    assert source["source"] == ADAPTER
    assert source["weights"] == ["adapter_model.safetensors"]
    assert source["base"]["source"] == MODEL
    assert source["base"]["weights"] == ["model.safetensors"]
    assert source["base"]["commit"] == hub.repositories[f"models/{MODEL}"].commit
    assert source["commit"] == hub.repositories[f"models/{ADAPTER}"].commit
    assert "training_args.bin" not in hub.fetched()


def test_an_adapters_own_tokenizer_goes_before_its_bases(place: Workplace, hub: Hub) -> None:
    own = json.loads(FAST["tokenizer_config.json"]) | {"chat_template": "{{ messages }}"}
    files = adapter() | {
        "tokenizer.json": FAST["tokenizer.json"],
        "tokenizer_config.json": json.dumps(own).encode(),
    }
    hub.repositories[f"models/{ADAPTER}"] = Repository(files)
    place.succeed()
    saved = json.loads((place.folder / "data/backbone/tokenizer_config.json").read_bytes())
    assert saved["chat_template"] == "{{ messages }}"
    assert "tokenizer.json" in place.source("backbone")["files"]


@pytest.mark.parametrize(
    "base", ["..", "./model", "../model", "a/b/c", "", None, 7, "https://a.b/c", "a\n/b"]
)
def test_what_is_no_repository_is_never_opened_for_a_stranger(tmp_path: Path, base: object) -> None:
    write(tmp_path, adapter(base_model_name_or_path=base))
    with pytest.raises(InputError, match="no folder to be opened here and no repository"):
        base_of(tmp_path / "adapter_config.json", ADAPTER, local=False)


def test_a_path_that_a_stranger_names_is_never_opened(place: Workplace, hub: Hub) -> None:
    path = str(place.folder / "model")
    hub.repositories[f"models/{ADAPTER}"] = Repository(adapter(base_model_name_or_path=path))
    sentence = place.fail()
    assert "as its base model, which is no folder to be opened here" in sentence
    assert "as `base` of its entry in params.yaml" in sentence
    assert not hub.fetched() & {"model.safetensors", "adapter_model.safetensors"}


def test_a_strangers_base_is_a_repository_even_where_a_folder_has_its_name(
    place: Workplace, hub: Hub
) -> None:
    write(place.folder / "secret", {"config.json": CONFIG, "model.safetensors": b"mine"})
    hub.repositories[f"models/{ADAPTER}"] = Repository(adapter(base_model_name_or_path="secret"))
    assert "did not deliver the model secret" in place.fail()  # so the hub was asked


def test_an_adapter_on_this_machine_may_have_its_base_there(place: Workplace) -> None:
    write(place.folder / "model", {"model.safetensors": b"weights"})
    write(place.folder / "tuned", adapter(base_model_name_or_path="./model"))
    place.backbone |= {"source": "./tuned"}
    place.succeed()
    assert (place.folder / "data/backbone/model.safetensors").read_bytes() == b"weights"
    assert (place.folder / "data/backbone/adapter/adapter_model.safetensors").is_file()
    assert place.source("backbone")["base"]["source"] == "./model"


def test_a_base_that_is_not_here_is_named_with_what_to_do(place: Workplace) -> None:
    write(place.folder / "model", {"model.safetensors": b"weights"})
    write(place.folder / "tuned", adapter(base_model_name_or_path="/home/someone/base/model"))
    place.backbone |= {"source": "./tuned"}
    sentence = place.fail()
    assert "The adapter ./tuned names '/home/someone/base/model' as its base model" in sentence
    assert "as `base` of its entry in params.yaml, or merge both with peft's" in sentence
    place.backbone |= {"base": "./model"}
    place.succeed()
    assert place.source("backbone")["base"]["source"] == "./model"


def test_a_base_that_is_an_adapter_or_has_no_weights_is_named(place: Workplace) -> None:
    write(place.folder / "tuned", adapter(base_model_name_or_path="./model"))
    place.backbone |= {"source": "./tuned"}
    assert "./model, the base model of the adapter ./tuned, has no weights" in place.fail()
    place.backbone |= {"base": "./tuned"}
    assert "./tuned, is an adapter as well: merge it first" in place.fail()
    place.backbone |= {"source": "./model", "base": "./model"}
    assert "base=./model is for adapters, and ./model is none" in place.fail()


def test_what_is_no_adapter_is_named(place: Workplace) -> None:
    place.backbone |= {"source": "./tuned"}
    write(place.folder / "tuned", adapter(peft_type="IA3"))
    assert "./tuned is more than a plain LoRA (peft_type 'IA3' in its" in place.fail()
    write(place.folder / "tuned", adapter(base_model_name_or_path="./model"))
    (place.folder / "tuned/adapter_model.safetensors").unlink()
    assert "The adapter ./tuned has no adapter_model.safetensors (there are: " in place.fail()
