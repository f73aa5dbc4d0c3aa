"""The model folder that train writes: weights without adapters, and the tokenizer beside them, for
transformers and all that build on it.
"""

import json
from pathlib import Path

from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from reward.tokens.encoder import Encoder
from reward.training.base_trainer import BaseTrainer


def open_tokenizer(backbone: Path) -> PreTrainedTokenizerBase:
    """A backbone's tokenizer with a padding token and the chat template that tokenize used."""
    tokenizer = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    tokenizer.chat_template = Encoder(backbone).chat_template
    return tokenizer


def save_trained(trainer: BaseTrainer, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a standard checkpoint: one model without adapters, and its tokenizer.

    To be called in every process. The trainer cannot go on afterwards, as its adapters are merged.
    """
    sharded = trainer.is_fsdp_enabled  # each process has a part of the weights
    if not (sharded or trainer.args.should_save):
        return
    if isinstance(trainer.model, PeftModel):
        # float32, in which no update is rounded away, may not fit where 16 bits were trained.
        adapted = trainer.model if sharded else trainer.model.cpu()
        trainer.model = adapted.float().merge_and_unload()
    trainer.save_weights(folder)
    if trainer.args.should_save:
        save_tokenizer(tokenizer, folder)


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
