"""A trainer of a small network on a few pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import RewardConfig

from benchmarks.pairs import all_compared
from reward.scoring.border import Border
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.scoring.states import Store
from reward.sources.backbones import Lora
from reward.tokens.records import Token
from reward.training.losses import LOSSES
from reward.training.network import lora_config
from reward.training.objective import Objective
from reward.training.settings import Weighting
from reward.training.steps import Steps
from reward.training.trainer import PairTrainer


def make_trainer(
    folder: Path,
    network: PreTrainedModel,
    groups: Sequence[Group],
    *,
    compared: Comparisons | None = None,
    batch_pairs: int = 8,
    epochs: int = 1,
    budget: int = 10**6,
    loss: str = "bradley-terry",
    centring_factor: float = 0.0,
    weighting: Weighting = "pairs",
    lora: Lora | None = None,
    border: Border | None = None,
    store: Store | None = None,
    **arguments: Any,
) -> PairTrainer:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2})),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )
    compared = compared or all_compared(groups)
    count = len(compared.pairs)
    steps = Steps(compared.sizes.tolist(), batch_pairs, epochs, seed=3)
    pairs = {Token.CHOSEN_IDS: [[5]] * count, Token.REJECTED_IDS: [[6]] * count}
    gaps = np.random.default_rng(1).uniform(0.2, 1, count).astype(np.float32)
    return PairTrainer(
        model=network,
        lora=lora_config(lora, network, border) if lora else None,
        store=store,
        steps=steps,
        objective=Objective(
            compared,
            gaps,
            LOSSES[loss],
            centring_factor=centring_factor,
            weighting=weighting,
        ),
        budget=budget,
        validation=all_compared(groups[:4]),
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
