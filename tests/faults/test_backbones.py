"""Backbones that cannot be used: each ends in one sentence, before its weights are fetched where
config and tokenizer tell, and no code of theirs runs.
"""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder
from reward.tokens.limits import POSITIONS_AFTER_PADDING, check_length
from reward.training.model_folder import open_tokenizer
from reward.training.network import build_network
from tests.support.loopback_hub import Repository
from tests.support.models import TINY
from tests.support.workplace import FAST, MODEL, Workplace

CONFIG = json.loads(FAST["config.json"])
SETTINGS = json.loads(FAST["tokenizer_config.json"])
TWO = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
CLASSIFIER = {"architectures": ["GPT2ForSequenceClassification"]}
REMOTE = {"model_type": "chatglm", "auto_map": {"AutoConfig": "code.Config"}}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


UNUSABLE: dict[str, tuple[str, bytes, str]] = {
    "no JSON": ("config.json", b"{", "config.json of the backbone someone/model is not JSON"),
    "not UTF-8": ("config.json", b'{"a": "\xff"}', "is not JSON"),
    "deep": ("config.json", b"[" * 100_000, "is not JSON"),
    "a list": ("config.json", b"[]", "holds a list in place of an object"),
    "a number": ("config.json", b"7", "holds a int in place of an object"),
    "no type": ("config.json", as_json({"n_layer": 2}), "has no model_type"),
    "a type of numbers": ("config.json", as_json({"model_type": [1]}), "has no model_type"),
    "unknown": ("config.json", as_json({"model_type": "nobody-knows"}), "of nobody-knows, the mod"),
    "pictures": ("config.json", as_json({"model_type": "vit"}), "no sequence classifier of vit"),
    "code": ("config.json", as_json(REMOTE), "code that a repository brings is never run"),
    "T5": (
        "config.json",
        as_json({"model_type": "t5", "is_encoder_decoder": True}),
        "(t5) has an encoder and a decoder",
    ),
    "tokenizer's settings": ("tokenizer_config.json", b"\x00", "tokenizer_config.json of the back"),
    "a list of settings": ("tokenizer_config.json", b"[1]", "holds a list in place of an object"),
    "cut tokenizer": ("tokenizer.json", FAST["tokenizer.json"][:-50], "is no tokenizer"),
    "tokenizer of nothing": ("tokenizer.json", b"{}", "is no tokenizer"),
    "tokenizer of types": (
        "tokenizer.json",
        as_json(json.loads(FAST["tokenizer.json"]) | {"model": 5}),
        "is no tokenizer",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_download_says_so_before_it_fetches_weights(place: Workplace, case: str) -> None:
    name, content, sentence = UNUSABLE[case]
    with place.hub() as hub:
        files = {**FAST, name: content, "model.safetensors": b"gigabytes", "code.py": CODE.encode()}
        hub.repositories[f"models/{MODEL}"] = Repository(files)
        place.backbone |= {"source": MODEL}
        assert sentence in place.fail()
        assert name in hub.fetched()
        assert not hub.fetched() & {"model.safetensors", "code.py"}


CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
raise SystemExit
"""


@pytest.mark.parametrize(
    "config",
    [
        CONFIG | TWO | {"architectures": ["GPT2LMHeadModel"]},  # stale, as many a base has it
        CONFIG | {"num_labels": 2},
        CONFIG | CLASSIFIER | TWO,
        CONFIG | CLASSIFIER | {"id2label": {"0": "LABEL_0"}},  # a reward model
    ],
)
def test_whatever_labels_a_backbone_has_a_reward_model_has_one(
    place: Workplace, config: dict[str, Any]
) -> None:
    (place.folder / "model/config.json").write_bytes(as_json(config))
    place.succeed()
    network = build_network(place.folder / "data/backbone", 1, torch.float32)
    assert network.config.num_labels == 1
    assert network.get_parameter("score.weight").shape == (1, 8)


SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
}
SMALL_BERT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_labels": 1,
}


def backbone(folder: Path, network: PreTrainedModel, *, weights: str = "model.safetensors") -> Path:
    """data/backbone as download leaves it."""
    network.save_pretrained(folder)
    if weights == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
        torch.save(network.state_dict(), folder / weights)
    source = {"commit": None, "weights": [weights]}
    (folder / "source.json").write_bytes(as_json(source))
    return folder


def configure(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_bytes(as_json(json.loads(file.read_bytes()) | values))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        build_network(folder, 1, torch.float32)
    sentence = str(caught.value)
    assert "choose" in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("left", ["nothing", "half", "all but a byte", "another file"])
def test_weights_that_were_cut_off_are_named(tmp_path: Path, weights: str, left: str) -> None:
    folder = backbone(tmp_path, GPT2LMHeadModel(GPT2Config(**SMALL)), weights=weights)
    build_network(folder, 1, torch.float32)
    content = (folder / weights).read_bytes()
    cut = {
        "nothing": b"",
        "half": content[: len(content) // 2],
        "all but a byte": content[:-1],
        "another file": b"<html>not found</html>",
    }
    (folder / weights).write_bytes(cut[left])
    assert "transformers makes no sequence classifier of the backbone in" in refused(folder)


class Hostile:
    """Pickled, it makes a folder where it is loaded without care."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("old", [True, False], ids=["a bare pickle", "in a zip"])
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(
    tmp_path: Path, old: bool
) -> None:
    target = tmp_path / "called"
    pickle.loads(pickle.dumps(Hostile(target)))  # noqa: S301
    target.rmdir()  # so it works where nobody takes care
    network = GPT2LMHeadModel(GPT2Config(**SMALL))
    folder = backbone(tmp_path / "backbone", network, weights="pytorch_model.bin")
    hostile = {**network.state_dict(), "a": Hostile(target)}
    if old:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(hostile, protocol=2))
    else:
        torch.save(hostile, folder / "pytorch_model.bin")
    refused(folder)
    assert not target.exists()


def test_weights_of_another_model_are_not_drawn_at_random_in_silence(tmp_path: Path) -> None:
    folder = backbone(tmp_path, GPT2LMHeadModel(GPT2Config(**SMALL)))
    configure(folder, n_layer=3)
    assert "lack transformer.h.2.attn.c_attn.bias and 11 more that its config" in refused(folder)
    configure(folder, n_layer=2, n_positions=32)
    assert "transformer.wpe.weight is of shape (64, 32) in the weights" in refused(folder)
    configure(folder, n_positions=64)
    build_network(folder, 1, torch.float32)
    other = backbone(tmp_path / "bert", BertForMaskedLM(BertConfig(**SMALL_BERT)))
    (other / "model.safetensors").replace(folder / "model.safetensors")
    assert "lack transformer.h.0." in refused(folder)


def test_an_encoder_without_a_pooler_gets_a_new_one(tmp_path: Path) -> None:
    """As models for masked words are published."""
    folder = backbone(tmp_path, BertForMaskedLM(BertConfig(**SMALL_BERT)))
    assert build_network(folder, 1, torch.float32).config.num_labels == 1


@pytest.mark.parametrize(
    "values",
    [{"n_layer": "two"}, {"n_head": 0}, {"n_head": 3}, {"n_embd": -1}, {"id2label": [1, 2]}],
)
def test_values_of_a_config_that_make_no_network_are_named(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    folder = backbone(tmp_path, GPT2LMHeadModel(GPT2Config(**SMALL)))
    configure(folder, **values)
    refused(folder)


def tokenizer_folder(folder: Path, **files: bytes) -> Path:
    """tiny's config and tokenizer, with other contents of the files named, without their ends."""
    folder.mkdir()
    for path in TINY.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    for stem, content in files.items():
        (folder / f"{stem}.json").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"config": b"{"},
        {"config": b"[]"},
        {"tokenizer_config": b"null"},
        {"tokenizer_config": b'{"a": '},
        {"tokenizer_config": as_json({"added_tokens_decoder": [1]})},
        {"tokenizer_config": as_json({"added_tokens_decoder": {"a": {}}})},
        {"tokenizer_config": as_json({"added_tokens_decoder": {"1": 5}})},
        {"tokenizer_config": as_json({"added_tokens_decoder": {"1": {"content": 5}}})},
        {"tokenizer_config": as_json({"eos_token": {"lstrip": True}})},
        {"tokenizer": b""},
        {"tokenizer": b"{}"},
        {"tokenizer": (TINY / "tokenizer.json").read_bytes()[:-100]},
    ],
)
def test_a_broken_tokenizer_ends_in_one_sentence(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = tokenizer_folder(tmp_path / "model", **files)
    with pytest.raises(InputError, match=r"fetch it again or choose another backbone\.$"):
        Encoder(folder)


def add_tokens(folder: Path, **named: str) -> int:
    """Add tokens to a tokenizer, and not to the embeddings; returns the id of the first."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    first = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([*named.values()])
    tokenizer.save(str(folder / "tokenizer.json"))
    file = folder / "tokenizer_config.json"
    file.write_bytes(as_json(json.loads(file.read_bytes()) | named))
    return first


def test_a_token_without_an_embedding_is_named_where_it_is_used(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "model")
    first = add_tokens(folder, extra_token="<tool>")
    encoder = Encoder(folder)
    prompt = [{"role": "user", "content": "What is a river?"}]
    encoder.encode([prompt], [["Water.", "A <b>."]])  # most texts have none of them
    sentence = rf"'<tool>' has the id {first}, .* embeddings for the ids below {first} .*choose"
    with pytest.raises(InputError, match=sentence):
        encoder.encode([prompt], [["Water.", "A <tool>."]])


def test_a_padding_token_without_an_embedding_is_replaced(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "model")
    first = add_tokens(folder, pad_token="<another pad>")
    tokenizer = open_tokenizer(folder)
    assert tokenizer.pad_token == tokenizer.eos_token
    assert tokenizer.pad_token_id < first


def test_a_tokenizer_of_which_transformers_makes_none_is_named(tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "model")
    settings: dict[str, Any] = {
        "tokenizer_class": "NobodyKnows",
        "added_tokens_decoder": {},
        "model_max_length": {},
    }
    settings |= {"extra_special_tokens": 5, "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_bytes(as_json(settings))
    with pytest.raises(InputError, match="transformers makes no tokenizer of the files in"):
        open_tokenizer(folder)


TABLE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 26,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "num_labels": 1,
}
# What a family needs beside these.
MORE: dict[str, dict[str, Any]] = {
    "esm": {"mask_token_id": 3},
    "layoutlmv3": {
        "coordinate_size": 4,
        "shape_size": 4,
        "visual_embed": False,
        "has_relative_attention_bias": False,
        "has_spatial_attention_bias": False,
    },
    "lilt": {"channel_shrink_ratio": 2},
    "longformer": {"attention_window": [8]},
    "luke": {"entity_vocab_size": 8, "entity_emb_size": 8},
    "xmod": {"default_language": "en_XX"},
}


def fits(network: PreTrainedModel, length: int) -> bool:
    try:
        network(input_ids=torch.full((1, length), 5))
    except (IndexError, RuntimeError):
        return False
    return True


@pytest.mark.parametrize("kind", sorted({*POSITIONS_AFTER_PADDING, "bert", "electra", "gpt2"}))
def test_as_many_tokens_as_max_length_may_be_are_the_most_that_a_network_takes(
    tmp_path: Path, kind: str
) -> None:
    from transformers import AutoConfig

    known = vars(AutoConfig.for_model(kind))
    values = {key: value for key, value in TABLE.items() if key in known or key == "num_labels"}
    if kind == "gpt2":
        values |= {"n_positions": 26, "n_embd": 24, "n_layer": 1, "n_head": 4, "vocab_size": 64}
    config = AutoConfig.for_model(kind, **values, **MORE.get(kind, {}))
    config.save_pretrained(tmp_path)
    most = 24 if kind in POSITIONS_AFTER_PADDING else 26
    check_length(most, tmp_path)
    with pytest.raises(InputError, match=rf"max_length={most + 1} exceeds .* {most} positions"):
        check_length(most + 1, tmp_path)
    network = AutoModelForSequenceClassification.from_config(config).eval()
    assert fits(network, most)
    assert not fits(network, most + 1)
