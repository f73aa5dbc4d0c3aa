"""Whether a backbone can become a reward model, told from its config and tokenizer alone, before
its weights are fetched.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from reward.harness.errors import InputError, first_line
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
    _check_labels(source, config)
    if not has_weights:
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


def _check_labels(source: str, config: dict[str, Any]) -> None:
    """A classifier of several labels has a head that was trained for them.

    Two labels are what transformers has where none are named; in another kind of model they mean
    nothing, and its head is new.
    """
    names, kinds = config.get("id2label"), config.get("architectures")
    trained = isinstance(kinds, list) and any(
        str(name).endswith("ForSequenceClassification") for name in kinds
    )
    labels = len(names) if isinstance(names, dict) else config.get("num_labels", 2)
    if trained and labels != 1:
        listed = f" ({', '.join(map(str, names.values()))[:80]})" if isinstance(names, dict) else ""
        raise InputError(
            f"The backbone {source} is a classifier of {labels} labels{listed}, and a reward model "
            f"has one: choose the model that it was fine-tuned from."
        )


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
