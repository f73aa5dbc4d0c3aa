"""reward.tokens.encoder against transformers, and chat templates that want out of their sandbox."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from reward.harness.errors import InputError
from reward.tokens.encoder import Encoder
from tests.support.backbones import (
    CHATML,
    DIALOGPT,
    GEMMA,
    NAMES,
    SPECIAL,
    TEMPLATES,
    TEXTS,
    TOKENIZERS,
    answered,
    save,
)

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


@pytest.fixture(scope="module", params=TOKENIZERS)
def contents_alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Encoder]:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    folder = tmp_path_factory.mktemp("contents-alone")
    return request.param, Encoder(save(folder, TOKENIZERS[request.param], template))


@given(text=st.text(), first=st.text(), second=st.text(), mark=st.sampled_from(SPECIAL))
def test_ids_are_those_of_the_whole_text(
    contents_alone: tuple[str, Encoder], text: str, first: str, second: str, mark: str
) -> None:
    kind, encoder = contents_alone
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
    encoder = Encoder(tmp_path)
    for _ in range(2):
        with pytest.raises(InputError, match=r"The chat template in .* is not valid \(.*\): corr"):
            encoder.render(PROMPTS[0])


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
