"""Small random networks of many architectures, and groups of random answers for them."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    EuroBertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from reward.scoring.groups import Group

VOCABULARY = 64
PAD = 0
BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
}
GROUPED = BASE | {"num_key_value_heads": 2, "head_dim": 8}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_labels": 1,
}

# Windows of 8 tokens are shorter than most of the answers below.
SHARED: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(**GPT2),
    "llama": LlamaConfig(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen2 with a window": Qwen2Config(
        **GROUPED, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "qwen3": Qwen3Config(**GROUPED),
    "mistral with a window": MistralConfig(**GROUPED, sliding_window=8),
    "gpt-neox": GPTNeoXConfig(**BASE),
    "opt": OPTConfig(
        **{key: value for key, value in BASE.items() if key != "intermediate_size"},
        ffn_dim=64,
        word_embed_proj_dim=32,
    ),
    "gemma": GemmaConfig(**GROUPED),
    "gemma2 with a window and soft caps": Gemma2Config(**GROUPED, sliding_window=8),
    "gemma3 with a window": Gemma3TextConfig(
        **GROUPED, sliding_window=8, layer_types=["sliding_attention", "full_attention"]
    ),
}
PADDED: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**BASE),
    "gpt-neo": GPTNeoConfig(  # type: ignore[call-arg]
        **{key: value for key, value in BASE.items() if not key.startswith(("num_", "interm"))},
        num_layers=2,
        num_heads=4,
        num_labels=1,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
    ),
}
# Encoders, most of which have more than one layer between their last hidden states and a reward.
ENCODERS: dict[str, PreTrainedConfig] = {
    "albert": AlbertConfig(**BASE, embedding_size=16),
    "bert": BertConfig(**BASE),
    # DeBERTa-v3's attention.
    "deberta-v2": DebertaV2Config(  # type: ignore[call-arg]
        **BASE,
        relative_attention=True,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "distilbert": DistilBertConfig(  # type: ignore[call-arg]
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=1
    ),
    "electra": ElectraConfig(**BASE, embedding_size=16),
    "eurobert": EuroBertConfig(**GROUPED),
    # Positions are counted from the padding token's id on.
    "roberta": RobertaConfig(**BASE),
    "xlm-roberta": XLMRobertaConfig(**BASE),
    "modernbert": ModernBertConfig(  # type: ignore[call-arg]
        **BASE, local_attention=8, global_attn_every_n_layers=2
    ),
}


def random_network(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A network with weights large enough that a wrong token, position or window shows."""
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(deepcopy(config), dtype=dtype).eval()
    for weight in network.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return network


def random_groups(answers: tuple[int, ...], seed: int = 0) -> list[Group]:
    """One group per entry of `answers`, with that many answers, of odd lengths; no padding ids."""
    draw = np.random.default_rng(seed)
    groups = []
    for count in answers:
        prompt = draw.integers(3, VOCABULARY, draw.integers(1, 40))
        groups.append(
            Group.of(
                [
                    np.concatenate([prompt, draw.integers(3, VOCABULARY, draw.integers(1, 40))])
                    for _ in range(count)
                ]
            )
        )
    return groups
