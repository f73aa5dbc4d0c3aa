"""Whether a backbone can become a reward model, told from its config and tokenizer alone, before
its weights are fetched.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from reward.harness.errors import InputError, first_line, printable
from reward.harness.files import read_foreign_json


def check_config(source: str, path: Path, *, has_weights: bool) -> None:
    """Check a config.json. source: what sentences call the backbone.

    Raises InputError where transformers makes no sequence classifier of one label of it.
    """
    config = _object(source, path)
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise InputError(
            f"The config.json of the backbone {source} has no model_type: choose a transformers "
            f"model as its `source`."
        )
    if config.get("is_encoder_decoder"):
        raise InputError(
            f"The backbone {source} ({kind}) has an encoder and a decoder, and a reward model is "
            f"one of them: choose a decoder such as GPT-2 or an encoder such as BERT."
        )
    if not has_weights and "auto_map" not in config:
        return  # nothing large will be fetched, and train asks transformers as well
    # This takes seconds.
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    if kind not in KNOWN:
        own = ", and code that a repository brings is never run" if "auto_map" in config else ""
        raise InputError(
            f"transformers {version('transformers')} makes no sequence classifier of {kind}, the "
            f"model_type of the backbone {source}{own}: choose a backbone that it knows."
        )


def head_note(source: str, path: Path) -> str | None:
    """What becomes of the head of a backbone that is a classifier already; None where it is none.

    path: its config.json. Two labels are what transformers has where none are named; in another
    kind of model they mean nothing.
    """
    config = _object(source, path)
    names, kinds = config.get("id2label"), config.get("architectures")
    if not isinstance(kinds, list) or not any(
        str(name).endswith("ForSequenceClassification") for name in kinds
    ):
        return None
    labels = len(names) if isinstance(names, dict) else config.get("num_labels", 2)
    if labels == 1:
        return f"{source}: a reward model already; training goes on from it and keeps its head"
    listed = f" ({', '.join(map(str, names.values()))})" if isinstance(names, dict) else ""
    return f"{source}: a classifier of {labels} labels{printable(listed[:80])}; it gets a new head"


def check_tokenizer(source: str, folder: Path) -> None:
    """Raise InputError where the tokenizer's files in a folder are none."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            _object(source, folder / name)
    try:
        Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises no kind of its own
        raise InputError(
            f"tokenizer.json of the backbone {source} is no tokenizer ({first_line(error)}): "
            f"fetch it again or choose another."
        ) from error


def _object(source: str, path: Path) -> dict[str, Any]:
    """The content of a JSON file of a backbone."""
    name = f"{path.name} of the backbone {source}"
    return read_foreign_json(path, name, "fetch it again or choose another")
