"""reward.tokens.merging: chat templates that take all turns by merging those they would not."""

from pathlib import Path

import pytest

from reward.tokens.encoder import Encoder
from reward.tokens.merging import merging_encoder
from reward.tokens.rendering import RefusedError
from reward.training.model_folder import open_tokenizer
from tests.support.backbones import CHATML, GEMMA, TOKENIZERS, save

# Like Llama 2's and Mistral's: a system turn may come first, the others must alternate.
ALTERNATES = (
    "{% if messages[0].role == 'system' %}{{ '<<' ~ messages[0].content ~ '>>' }}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '[' ~ message.content ~ ']' }}{% endfor %}"
)
DROPS_TOOLS = (
    "{% for m in messages %}{% if m.role != 'tool' %}{{ m.role ~ ':' ~ m.content ~ ';' }}"
    "{% endif %}{% endfor %}"
)


def turns(*texts: str) -> list[dict[str, str]]:
    """Of texts such as `user: Hi`."""
    split = [text.partition(": ") for text in texts]
    return [{"role": role, "content": content} for role, _, content in split]


def merged(folder: Path, template: str) -> Encoder:
    return merging_encoder(save(folder, TOKENIZERS["byte level"], template))


@pytest.mark.parametrize(
    ("template", "talk", "text"),
    [
        (
            GEMMA,
            turns("system: Be kind.", "user: Hi", "assistant: Ho"),
            "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\nHo<end_of_turn>\n",
        ),
        (
            GEMMA,
            turns("user: a", "assistant: b", "tool: 18", "tool: 19", "user: c", "assistant: d"),
            "<s><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"
            "<start_of_turn>user\n<tool_response>\n18\n</tool_response>\n\n<tool_response>\n19\n"
            "</tool_response>\n\nc<end_of_turn>\n<start_of_turn>model\nd<end_of_turn>\n",
        ),
        (ALTERNATES, turns("system: s", "user: a", "user: b", "assistant: c"), "<<s>>[a\n\nb][c]"),
        (ALTERNATES, turns("user: a", "assistant: b", "assistant: c"), "[a][b\n\nc]"),
        (
            DROPS_TOOLS,
            turns("user: a", "assistant: b", "tool: 18", "assistant: c"),
            "user:a;assistant:b;user:<tool_response>\n18\n</tool_response>;assistant:c;",
        ),
    ],
)
def test_merged_by_hand(
    tmp_path: Path, template: str, talk: list[dict[str, str]], text: str
) -> None:
    encoder = merged(tmp_path, template)
    assert encoder.render(talk) == text
    # The template that is saved with the model does the same wherever it is opened.
    tokenizer = open_tokenizer(tmp_path, encoder.chat_template)
    assert tokenizer.apply_chat_template(talk, tokenize=False) == text


@pytest.mark.parametrize("template", [GEMMA, ALTERNATES, "\n  {% if true %}x{% endif %}" + GEMMA])
def test_turns_that_are_taken_stay_as_they_are(tmp_path: Path, template: str) -> None:
    encoder = merged(tmp_path, template)
    assert encoder.replaced
    talk = turns("user: a ", "assistant: \nb", "user: c")
    for ask in (False, True):
        plain = Encoder(tmp_path).render(talk, add_generation_prompt=ask)
        assert encoder.render(talk, add_generation_prompt=ask) == plain


def test_a_template_that_takes_all_turns_stays_as_it_is(tmp_path: Path) -> None:
    encoder = merged(tmp_path, CHATML)
    assert not encoder.replaced
    assert encoder.chat_template == CHATML


def test_what_no_merging_helps_is_refused_as_before(tmp_path: Path) -> None:
    assert not merged(tmp_path / "a", "{{ raise_exception('never') }}").replaced
    encoder = merged(tmp_path / "b", GEMMA)
    with pytest.raises(RefusedError, match="must alternate"):
        encoder.render(turns("assistant: Ho", "user: Hi"))
