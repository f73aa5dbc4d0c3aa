"""A trainer of a small network on a few pairs."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import RewardConfig

from reward.scoring.groups import Group
from reward.sources.backbones import Lora
from reward.tokens.records import Token
from reward.training.losses import LOSSES
from reward.training.network import lora_config
from reward.training.trainer import PairTrainer, Steps


def make_trainer(
    folder: Path,
    network: PreTrainedModel,
    groups: list[Group],
    *,
    batch_pairs: int = 8,
    epochs: int = 1,
    budget: int = 10**6,
    loss: str = "bradley-terry",
    centring_factor: float = 0.0,
    lora: Lora | None = None,
    **arguments: Any,
) -> PairTrainer:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2})),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )
    steps = Steps(len(groups), batch_pairs, epochs, seed=3)
    pairs = {Token.CHOSEN_IDS: [[5]] * len(groups), Token.REJECTED_IDS: [[6]] * len(groups)}
    gaps = np.random.default_rng(1).uniform(0.2, 2, len(groups)).astype(np.float32)
    return PairTrainer(
        model=network,
        lora=lora_config(lora, network) if lora else None,
        steps=steps,
        groups=groups,
        gaps=gaps,
        loss=LOSSES[loss],
        centring_factor=centring_factor,
        budget=budget,
        validation=groups[:4],
        curve=folder / "curve.csv",
        args=RewardConfig(
            output_dir=str(folder / "checkpoints"),
            max_steps=len(steps),
            max_length=None,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            save_strategy=arguments.pop("save_strategy", "no"),
            **arguments,
        ),
        train_dataset=Dataset.from_dict(pairs),
        eval_dataset=Dataset.from_dict(pairs),
        processing_class=tokenizer,
    )
