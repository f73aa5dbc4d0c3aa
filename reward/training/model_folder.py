"""The model folder that train writes: weights without adapters, with the tokenizer beside them, for
transformers and all that build on it; and a record of the machine that made it.
"""

import json
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reward.harness.errors import InputError, first_line
from reward.harness.files import write_json
from reward.tokens.encoder import Encoder
from reward.training.adapters import save_adapter
from reward.training.base_trainer import BaseTrainer
from reward.training.machine import RECORD, this_machine

# What other libraries read in config.json: the name of the one label, and that the CrossEncoder of
# sentence-transformers gives the reward as it is; for one label it would take the sigmoid of it.
LABEL = {
    "id2label": {0: "reward"},
    "label2id": {"reward": 0},
    "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
}


def open_tokenizer(backbone: Path, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """A backbone's tokenizer with a padding token and the chat template that tokenize used.

    chat_template: the one that it used in place of the backbone's own, if any.

    A padding token without an embedding, as programs add one, is replaced like one that is not
    there: by the end-of-sequence token.

    Raises InputError where transformers makes no tokenizer of the folder.
    """
    encoder = Encoder(backbone, chat_template=chat_template)
    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False)
    except Exception as error:  # files of strangers lead to errors of any kind
        raise InputError(
            f"transformers makes no tokenizer of the files in {backbone} ({first_line(error)}): "
            f"choose another backbone."
        ) from error
    if tokenizer.pad_token is None or not encoder.has_embedding(tokenizer.pad_token_id):
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = encoder.chat_template
    return tokenizer


def save_trained(
    trainer: BaseTrainer,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    adapter_of: tuple[str, str | None] | None = None,
) -> None:
    """Write a standard checkpoint: one model without adapters, and its tokenizer.

    Beside them machine.json says on what and with what it was made, in how many processes.

    adapter_of: the base model and its commit, where the folder `adapter` in it is to have the
    adapter alone as well.

    To be called in every process. The trainer cannot go on afterwards, as its adapters are merged.
    """
    model = cast(PreTrainedModel | PeftModel, trainer.model)
    if trainer.is_fsdp_enabled:  # each process has a part of the weights
        weights = trainer.gathered_weights()
        if trainer.args.should_save:
            model = _whole(model, weights)
    if not trainer.args.should_save:
        return
    if isinstance(model, PeftModel):
        if adapter_of:
            save_adapter(model, *adapter_of, folder / "adapter")
        # float32, in which no update is rounded away, may not fit where 16 bits were trained.
        model = cast(PreTrainedModel, model.cpu().float().merge_and_unload())
    model.config.update(LABEL)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    write_json(folder / RECORD, {"processes": trainer.args.world_size, **this_machine()})


def _whole(
    sharded: PreTrainedModel | PeftModel, weights: dict[str, torch.Tensor]
) -> PreTrainedModel | PeftModel:
    """A model like a sharded one, with its weights, in one process."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(
            sharded.config, trust_remote_code=False
        )
        if isinstance(sharded, PeftModel):
            model = get_peft_model(model, sharded.active_peft_config)
    model.load_state_dict(weights, assign=True)
    return model


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer so that tools which pin transformers 4 open it as well."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    # Transformers 5 calls its class so where a tokenizer has none of its own; to transformers 4
    # that name means nothing, and the older name means the same to both.
    if settings["tokenizer_class"] == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    # Transformers writes here whether HF_HUB_OFFLINE was set, and a model does not depend on that.
    if "local_files_only" in settings:
        settings["local_files_only"] = False
    # Under that name transformers 4 would add token_type_ids, which GPT-2 takes for more words.
    settings["model_input_names"] = tokenizer.model_input_names
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
