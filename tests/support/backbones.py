"""Tokenizers of every kind with chat templates of known models, in folders as backbones are."""

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

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
