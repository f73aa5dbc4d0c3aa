"""The tiny backbone: reproducible, small, without weights, and a whole tokenizer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoTokenizer

TINY = Path("data/sources/tiny")
TOKENIZER = AutoTokenizer.from_pretrained(TINY)
CONFIG = AutoConfig.from_pretrained(TINY)


def test_generator_gives_the_committed_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "data/make_tiny.py", "--folder", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in TINY.iterdir()
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (TINY / name).read_bytes()
    assert config_values(tmp_path) == config_values(TINY)


def config_values(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # The one value that a newer transformers changes.
    return {key: value for key, value in values.items() if key != "transformers_version"}


def test_folder_is_small_and_has_no_weights() -> None:
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 1_000_000
    assert not [path for path in TINY.iterdir() if path.suffix in {".safetensors", ".bin", ".pt"}]


def test_config_is_a_small_gpt2_that_fits_the_tokenizer() -> None:
    assert CONFIG.model_type == "gpt2"
    assert CONFIG.architectures == ["GPT2LMHeadModel"]
    assert CONFIG.n_layer == 2
    assert CONFIG.n_positions == TOKENIZER.model_max_length == 1024
    assert CONFIG.vocab_size == len(TOKENIZER)
    assert CONFIG.pad_token_id == TOKENIZER.pad_token_id
    assert CONFIG.bos_token_id == CONFIG.eos_token_id == TOKENIZER.eos_token_id
    assert CONFIG.resid_pdrop == CONFIG.embd_pdrop == CONFIG.attn_pdrop == 0


def test_special_tokens_are_distinct_and_single() -> None:
    names = ["<|pad|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    assert [TOKENIZER(name)["input_ids"] for name in names] == [[i] for i in range(6)]
    assert TOKENIZER.pad_token != TOKENIZER.eos_token


def test_chat_template_renders_every_role() -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    text = "<|system|>\nBe kind.<|end|><|user|>\nHi<|end|><|assistant|>\nHello!<|end|>"
    text += "<|user|>\nBye<|end|>"
    assert TOKENIZER.apply_chat_template(messages, tokenize=False) == text
    prompted = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompted == text + "<|assistant|>\n"
    assert (
        TOKENIZER.apply_chat_template(messages, return_dict=False) == TOKENIZER(text)["input_ids"]
    )


def test_chat_template_is_saved_and_read_again(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template == TOKENIZER.chat_template
    assert again("A test.")["input_ids"] == TOKENIZER("A test.")["input_ids"]


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


@pytest.mark.parametrize("text", ["naïve café", "日本語", "🙂🚀", "a\tb\n\n  c", "'s n't ."])
def test_bytes_outside_the_sample_come_back(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text
