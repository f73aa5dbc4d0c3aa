"""reward.sources.backbones: folders and repositories of models, whole and incomplete."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from reward.tokens.encoder import Encoder
from tests.support.loopback_hub import Hub, Repository
from tests.support.workplace import FAST, MODEL, Workplace, make_tokenizer, slow_files

TEXTS = [
    f"A {thing} number {i} is near the {other}, ein Fluß: what is it?"
    for i in range(9)
    for thing in ("river", "stone", "cloud")
    for other in ("sea", "hill")
]


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


def spm_files(folder: Path) -> dict[str, bytes]:
    """A tokenizer as DeBERTa-v3 is published: a model of sentencepiece and nothing else."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        vocab_size=100,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    config = {"model_type": "deberta-v2", "vocab_size": 300, "pad_token_id": 0}
    return {
        "config.json": json.dumps(config).encode(),
        "tokenizer_config.json": json.dumps({"do_lower_case": False, "vocab_type": "spm"}).encode(),
        "spm.model": model.getvalue(),
    }


def test_a_tokenizer_of_sentencepiece_alone_gives_sentencepieces_ids(
    place: Workplace, hub: Hub
) -> None:
    files = spm_files(place.folder)
    hub.repositories[f"models/{MODEL}"] = Repository({**files, "pytorch_model.bin": b"a pickle"})
    place.backbone |= {"source": MODEL}
    place.succeed()
    folder = place.folder / "data/backbone"
    converted = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own = sentencepiece.SentencePieceProcessor(model_proto=files["spm.model"])
    for text in (TEXTS[0], "A stone by a river.", "Ein Fluß, 東 and 3 stones"):
        assert converted.encode(text, add_special_tokens=False).ids == own.encode(text)
        assert converted.encode(text).ids == [1, *own.encode(text), 2]
    assert 3 in own.encode("東")
    assert "spm.model" in place.source("backbone")["files"]
    (ids,) = Encoder(folder).encode([[{"role": "user", "content": "A river?"}]], [["Yes."]])
    assert ids.prompt[0] == 1
    assert ids.responses[0][-1] == 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"0": "LABEL_0"}, "a reward model already; training goes on from it and keeps its head"),
        (
            {"0": "BAD", "1": "GO\x1b[1mOD"},
            r"a classifier of 2 labels (BAD, GO\x1b[1mOD); it gets a",
        ),
        (None, "a classifier of 2 labels; it gets a new head"),
    ],
)
def test_what_becomes_of_a_published_head_is_said(
    place: Workplace, names: dict[str, str] | None, said: str
) -> None:
    file = place.folder / "model/config.json"
    config = json.loads(file.read_bytes()) | {"architectures": ["GPT2ForSequenceClassification"]}
    file.write_text(json.dumps(config | ({"id2label": names} if names else {})))
    (place.folder / "model/model.safetensors").write_bytes(b"weights")
    assert f"./model: {said}" in place.succeed()


def test_tokens_without_embeddings_in_the_chat_template_are_named_before_weights_are_fetched(
    place: Workplace, hub: Hub
) -> None:
    tokenizer = make_tokenizer()
    embeddings = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<|im_start|>"])
    template = "{% for message in messages %}<|im_start|>{{ message.content }}{% endfor %}"
    config = json.loads(FAST["config.json"]) | {"vocab_size": embeddings}
    files = FAST | {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "chat_template.jinja": template.encode(),
    }
    hub.repositories[f"models/{MODEL}"] = Repository({**files, "model.safetensors": b"gigabytes"})
    place.backbone |= {"source": MODEL}
    sentence = place.fail()
    assert f"The backbone {MODEL} has fewer embeddings than its tokenizer has tokens" in sentence
    assert f"'<|im_start|>' has the id {embeddings}" in sentence
    assert "resize_token_embeddings" in sentence
    assert "model.safetensors" not in hub.fetched()


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
