"""Templates of plain English: alternatives in round brackets, values behind a dollar sign.

"(Add|Put) $amount to the (pan|pot)." has four wordings for each amount. Alternatives may be empty
and may be nested; brackets without a bar stay as they are. Values are filled in last, so brackets
inside a value are left alone.
"""

import re
from pathlib import Path
from random import Random
from string import Template
from typing import Any

import yaml

_ALTERNATIVES = re.compile(r"\(([^()|]*(?:\|[^()|]*)+)\)")


def load(name: str) -> Any:
    """The wording kept beside the code as `name`.yaml."""
    return yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8"))


def phrase(rng: Random, template: str, **values: object) -> str:
    """One wording of a template with its values filled in; a name without a value is a KeyError."""
    while found := _ALTERNATIVES.search(template):
        chosen = rng.choice(found.group(1).split("|"))
        template = template[: found.start()] + chosen + template[found.end() :]
    return Template(template).substitute(values)


def sentence(rng: Random, template: str, **values: object) -> str:
    """A phrase that starts with a capital letter, without white space around it."""
    return capital(phrase(rng, template, **values).strip())


def capital(text: str) -> str:
    """The text with its first letter, and no other, made a capital."""
    return text[:1].upper() + text[1:]


def listing(items: list[str], last: str = "and") -> str:
    """ "a", "a and b" or "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
