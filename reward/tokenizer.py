"""The tokenizer that is saved with a model, for transformers and all that build on it."""

import json
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from reward.encoding import Encoder


def open_tokenizer(backbone: Path) -> PreTrainedTokenizerBase:
    """A backbone's tokenizer with a padding token and the chat template that tokenize used."""
    tokenizer = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.chat_template = Encoder(backbone).chat_template
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer so that tools which pin transformers 4 open it as well."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    # Transformers 5 calls its class so where a tokenizer has none of its own; to transformers 4
    # that name means nothing, and the older name means the same to both.
    if settings["tokenizer_class"] == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    # Under that name transformers 4 would add token_type_ids, which GPT-2 takes for more words.
    settings["model_input_names"] = tokenizer.model_input_names
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
