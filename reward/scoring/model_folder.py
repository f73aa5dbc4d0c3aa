"""A folder of a reward model, opened to score with."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from reward.harness.errors import InputError, first_line
from reward.scoring.devices import precision
from reward.scoring.settings import check_folder


def open_model(folder: Path, device: torch.device) -> PreTrainedModel:
    """A reward model that train wrote, or any sequence classifier with one label, to score with.

    Its number format is that of a model that is not trained: `frozen` of reward.scoring.devices.

    Raises InputError where the folder holds no model or a model without a trained head.
    """
    check_folder(folder)
    try:
        network, loading = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=precision(device).frozen,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder} holds no sequence classifier that can be opened ({first_line(error)}): name "
            f"the folder of a model, such as the one that train wrote."
        ) from None
    if loading["missing_keys"] or network.config.num_labels != 1:
        raise InputError(
            f"{folder} is no reward model ({network.config.num_labels} labels, weights missing: "
            f"{', '.join(sorted(loading['missing_keys'])) or 'none'}): name a sequence classifier "
            f"with one label, such as the one that train wrote."
        )
    return network.to(device).eval()
