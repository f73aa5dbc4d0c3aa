"""reward.tokens.encoder against transformers, and chat templates that want out of their sandbox."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer

from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder

TEXTS = [
    "What is the capital of France? The capital of France is Paris.",
    "User: please sort these numbers. Assistant: 1, 2, 3, 10 and 20.\n\n- a list\n- of items",
    "Grüße aus München, 東京 and 🙂!   spaces\tand\ttabs",
]

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DIALOGPT = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
# Loop controls, a namespace, JSON, the generation tag, and lines that white-space trimming changes.
FANCY = """{%- set state = namespace(turns=0) -%}
{% for message in messages %}
    {% if not message.content %}
        {% continue %}
    {% endif %}
    {% set state.turns = state.turns + 1 %}
    {% if message.role == 'assistant' %}
        {% generation %}
{{ '<|im_start|>' ~ message.content ~ '<|im_end|>' }}
        {% endgeneration %}
    {% else %}
{{ '<|im_start|>' ~ {'text': message.content, 'turn': state.turns} | tojson ~ '<|im_end|>' }}
    {% endif %}
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>{% endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "llama": LLAMA,
    "dialogpt": DIALOGPT,
    "gemma": GEMMA,
    "fancy": FANCY,
    "no special token": "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}",
    "prompt that is no prefix": "{{ messages | length }}<|im_end|>{{ messages[-1].content }}",
}

SPECIAL = [
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
]

PROMPTS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {"role": "user", "content": "  Sort these <b>numbers</b> & words\n"},
        {"role": "assistant", "content": "1, 2, 3"},
        {"role": "user", "content": "東京 <|im_end|> and 🙂?"},
    ],
    [{"role": "user", "content": "x"}],
]
RESPONSES = [
    ["The capital is Paris.", " The capital is  Paris\n"],
    ["<s>a list", "a list</s> of items"],
    ["The", "They"],
]


def byte_level(add_prefix_space: bool = False) -> Tokenizer:
    """Like GPT-2's, Llama 3's and Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS * 9,
        trainers.BpeTrainer(
            vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def metaspace() -> Tokenizer:
    """Like Llama 2's and Mistral's: a mark is put before the first word of a text only."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.train_from_iterator(
        TEXTS * 9,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=["<unk>", *SPECIAL], show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


def word_piece() -> Tokenizer:
    """Like BERT's: lower case, [CLS] before and [SEP] after each text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", *SPECIAL]
    tokenizer.train_from_iterator(
        TEXTS * 9,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


TOKENIZERS = {
    "byte level": byte_level(),
    "byte level with a prefix space": byte_level(add_prefix_space=True),
    "metaspace": metaspace(),
    "word piece": word_piece(),
}
NAMES = {
    "word piece": {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"},
}


def save(folder: Path, tokenizer: Tokenizer, template: str | None = None, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def answered(prompt: list[dict[str, str]], response: str) -> list[dict[str, str]]:
    return [*prompt, {"role": "assistant", "content": response}]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_text_and_ids_are_those_of_transformers(kind: str, template: str, tmp_path: Path) -> None:
    save(tmp_path, TOKENIZERS[kind], template, **NAMES.get(kind, {}))
    encoder, reference = Encoder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert encoder.chat_template == reference.chat_template
    for prompt, responses, encoded in zip(
        PROMPTS, RESPONSES, encoder.encode(PROMPTS, RESPONSES), strict=True
    ):
        for response, ids in zip(responses, encoded.responses, strict=True):
            messages = answered(prompt, response)
            text = reference.apply_chat_template(messages, tokenize=False)
            assert encoder.render(messages) == text
            expected = reference.apply_chat_template(messages, return_dict=False)
            assert [*encoded.prompt.tolist(), *ids.tolist()] == expected
        opening = reference.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        assert encoder.render(prompt, add_generation_prompt=True) == opening


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(text=st.text(), first=st.text(), second=st.text(), mark=st.sampled_from(SPECIAL))
def test_ids_are_those_of_the_whole_text(
    kind: str, text: str, first: str, second: str, mark: str, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / kind
    if not folder.exists():
        save(folder, TOKENIZERS[kind], "{% for m in messages %}{{ m.content }}{% endfor %}")
    encoder = Encoder(folder)
    prompt = [{"role": "user", "content": text + mark}]
    (encoded,) = encoder.encode([prompt], [[first, mark + second]])
    for response, ids in zip([first, mark + second], encoded.responses, strict=True):
        whole = TOKENIZERS[kind].encode(text + mark + response, add_special_tokens=False).ids
        assert [*encoded.prompt.tolist(), *ids.tolist()] == whole


def test_a_token_that_may_be_part_of_another_is_no_place_to_cut(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<a>", "<a><b>", "<c>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    encoder = Encoder(
        save(tmp_path, tokenizer, "{% for m in messages %}{{ m.content }}{% endfor %}")
    )
    (encoded,) = encoder.encode([[{"role": "user", "content": "x<c>y<a>"}]], [["<b>z", "z"]])
    whole = tokenizer.encode("x<c>y<a><b>z", add_special_tokens=False)
    assert whole.tokens == ["x", "<c>", "y", "<a><b>", "z"]
    assert [*encoded.prompt.tolist(), *encoded.responses[0].tolist()] == whole.ids


def test_the_prompt_ends_where_the_response_begins(tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["byte level"]
    encoder = Encoder(save(tmp_path, tokenizer, CHATML))
    (encoded,) = encoder.encode(PROMPTS[:1], [["The capital is Paris.", "The capital is Rome."]])
    opening = encoder.render(PROMPTS[0], add_generation_prompt=True)
    assert encoded.prompt.tolist() == tokenizer.encode(opening, add_special_tokens=False).ids


def test_any_number_of_responses_shares_the_prompt(tmp_path: Path) -> None:
    encoder = Encoder(save(tmp_path, TOKENIZERS["byte level"], CHATML))
    answers = ["one", "two", "three", "four"]
    (best_of_n,) = encoder.encode(PROMPTS[:1], [answers])
    singles = encoder.encode(PROMPTS[:1] * 4, [[answer] for answer in answers])
    for ids, single in zip(best_of_n.responses, singles, strict=True):
        assert np.array_equal(
            np.concatenate([best_of_n.prompt, ids]),
            np.concatenate([single.prompt, single.responses[0]]),
        )


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_plain_template_adds_nothing_twice(kind: str, tmp_path: Path) -> None:
    save(tmp_path, TOKENIZERS[kind], **NAMES.get(kind, {}))
    encoder = Encoder(tmp_path)
    start, end = {"word piece": ("[CLS]", "[SEP]"), "metaspace": ("<s>", "</s>")}.get(
        kind, ("", "</s>")
    )
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sort"}]
    assert encoder.render(answered(prompt, "1, 2")) == (
        f"{start}System: Be brief.{end}\nUser: Sort{end}\nAssistant: 1, 2{end}"
    )
    assert encoder.render(prompt, add_generation_prompt=True) == (
        f"{start}System: Be brief.{end}\nUser: Sort{end}\nAssistant:"
    )
    (encoded,) = encoder.encode([prompt], [["1, 2"]])
    ids = [*encoded.prompt.tolist(), *encoded.responses[0].tolist()]
    tokens = [TOKENIZERS[kind].id_to_token(i) for i in ids]
    assert tokens[-1] == end
    assert tokens.count(end) == 3
    if start:
        assert tokens[0] == start
        assert tokens.count(start) == 1
    reference = AutoTokenizer.from_pretrained(tmp_path)
    reference.chat_template = encoder.chat_template
    expected = reference.apply_chat_template(answered(prompt, "1, 2"), return_dict=False)
    assert ids == expected


def test_tokens_that_only_the_config_knows_are_added_as_transformers_does(tmp_path: Path) -> None:
    decoder = {
        "500": {"content": "<tool>", "lstrip": True, "rstrip": False, "special": True},
        "501": {"content": "and", "single_word": True, "special": False},
    }
    save(
        tmp_path,
        TOKENIZERS["byte level"],
        CHATML,
        added_tokens_decoder=decoder,
        eos_token="<end>",
        pad_token="France",
    )
    encoder, reference = Encoder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    messages = answered(PROMPTS[0], "a <tool> and an island<end> of France")
    (encoded,) = encoder.encode(PROMPTS[:1], [[messages[-1]["content"]]])
    expected = reference.apply_chat_template(messages, return_dict=False)
    assert [*encoded.prompt.tolist(), *encoded.responses[0].tolist()] == expected


def test_older_folders(tmp_path: Path) -> None:
    """Named templates in the config, tokens in special_tokens_map.json, else ids in config.json."""
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": DIALOGPT}]
    save(tmp_path, TOKENIZERS["byte level"], chat_template=named, eos_token="</s>")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": {"content": "<|im_end|>"}}')
    encoder, reference = Encoder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    text = reference.apply_chat_template(PROMPTS[0], tokenize=False)
    assert encoder.render(PROMPTS[0]) == text
    assert text.endswith("<|im_end|>")

    (tmp_path / "special_tokens_map.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": DIALOGPT}))
    number = TOKENIZERS["byte level"].token_to_id("<|eot_id|>")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": number}))
    assert Encoder(tmp_path).render(PROMPTS[0]) == "What is the capital of France?<|eot_id|>"

    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named[:1]}))
    with pytest.raises(InputError, match=r"named tool_use but none named default"):
        Encoder(tmp_path)


def test_tokenizers_that_truncate_or_pad_by_themselves_do_not(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_str(TOKENIZERS["byte level"].to_str())
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    encoder = Encoder(save(tmp_path, tokenizer, DIALOGPT))
    long, short = encoder.encode(PROMPTS[:1] + PROMPTS[2:], [["Paris and more"], [""]])
    assert len(long.prompt) + len(long.responses[0]) > 4
    assert len(short.prompt) + len(short.responses[0]) == 3  # x </s> </s>


def test_a_conversation_that_the_template_refuses(tmp_path: Path) -> None:
    encoder = Encoder(save(tmp_path, TOKENIZERS["byte level"], GEMMA))
    prompt = [{"role": "system", "content": "Be brief."}, *PROMPTS[0]]
    with pytest.raises(
        InputError, match=r"refuses .* system, user \(System role not supported\): remove"
    ):
        encoder.encode([prompt], [["a", "b"]])


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(__class__=1) }}",
        "{% set n = namespace() %}{% set n.__init__ = 1 %}",
        "{{ messages[0].content.missing.more }}",
    ],
)
def test_templates_cannot_leave_the_sandbox(template: str, tmp_path: Path) -> None:
    encoder = Encoder(save(tmp_path, TOKENIZERS["byte level"], template))
    with pytest.raises(InputError, match="refuses a conversation"):
        encoder.render(PROMPTS[0])


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tokenizer\.json: choose"):
        Encoder(tmp_path)
    save(tmp_path, TOKENIZERS["byte level"], "{% for %}")
    with pytest.raises(InputError, match=r"The chat template in .* is not valid \(.*\): correct"):
        Encoder(tmp_path)


def test_the_date_does_not_change_the_ids(tmp_path: Path) -> None:
    encoder = Encoder(save(tmp_path, TOKENIZERS["byte level"], "{{ strftime_now('%d %b %Y') }}"))
    assert encoder.render(PROMPTS[0]) == "26 Jul 2024"


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys, stages.tokenize, stages.stats;"
        "loaded = {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
