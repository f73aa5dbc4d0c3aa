"""The text of chat templates: read from a folder or made up (reward.tokens.rendering runs them)."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from reward.harness.errors import InputError


def template_of(folder: Path, settings: dict[str, Any]) -> str | None:
    """The chat template that a folder brings, if any; settings: its tokenizer_config.json.

    Raises InputError where there are several, none of them the default.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):
        templates = {entry["name"]: entry["template"] for entry in template}
        if "default" not in templates:
            raise InputError(
                f"{folder} has chat templates named {', '.join(templates)} but none named default: "
                f"name one of them default in tokenizer_config.json."
            )
        return templates["default"]
    return template


def default_template(tokenizer: Tokenizer, special: dict[str, str]) -> str:
    """Turns as `User: ...` and `Assistant: ...`, one a line (see reward.tokens.encoder.Encoder)."""
    encoding = tokenizer.encode("a")
    own = [position for position, mask in enumerate(encoding.special_tokens_mask) if not mask]
    start = "".join(encoding.tokens[: own[0]])
    end = "".join(encoding.tokens[own[-1] + 1 :]) or special.get("eos_token", "")
    quoted_start, quoted_end = (json.dumps(text, ensure_ascii=False) for text in (start, end))
    return (
        f"{{{{ {quoted_start} }}}}"
        "{% for message in messages %}"
        '{% if not loop.first %}{{ "\\n" }}{% endif %}'
        "{{ message.role | capitalize }}: {{ message.content }}"
        f"{{{{ {quoted_end} }}}}"
        "{% endfor %}"
        '{% if add_generation_prompt %}{{ "\\nAssistant:" }}{% endif %}'
    )
