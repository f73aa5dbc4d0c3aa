"""Chat templates: read from a folder or made up, and run in a sandbox like any untrusted input."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox
import jinja2.utils
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


def compiled(template: str, folder: Path) -> jinja2.Template:
    """The template in the sandbox that transformers' `apply_chat_template` runs it in.

    Raises InputError where it is not valid.
    """
    # Autoescape would change the text; it is read by a tokenizer, not by a browser.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = datetime(2024, 7, 26).strftime
    environment.globals["namespace"] = _Namespace
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise InputError(
            f"The chat template in {folder} is not valid ({error}): correct it."
        ) from None


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks the assistant's text for loss masks; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  the type that jinja2 declares

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """Keeps out names that begin with an underscore: through them a template could reach Python."""

    def __init__(self, /, *args: Any, **attributes: Any) -> None:
        super().__init__()
        for name, value in dict(*args, **attributes).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the name {name} is not allowed in a namespace")
        super().__setitem__(name, value)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
