"""What training a GPT-2 must compute: the numerator of its utilisation of the hardware."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from reward.scoring.groups import Group
from reward.scoring.layers import last_feed_forward


def training_flops(network: PreTrainedModel, groups: Sequence[Group]) -> int:
    """Operations that training a GPT-2 once on each group must compute: answers and common prefixes
    once, and the last layer's feed-forward part for the tokens that give the rewards alone.

    Per token a layer of p weights costs 2 p forward, 2 p for its input's gradient and 2 p for its
    weights', where those are needed: under LoRA the base's weights have none, nor does what comes
    before the first adapter. Attention costs 4 x width for each query and key that it may see, and
    three times that with the backward pass. Nothing else is counted: no embedding, norm,
    activation or head, no optimiser, nothing computed twice.
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and ".h." in name
    ]
    full = all(module.weight.requires_grad for _, module in layers)
    last = last_feed_forward(network)
    assert last is not None
    narrowed = set(last.modules())
    computed = sum(group.shared_tokens for group in groups)
    scored = sum(len(group.sequences) for group in groups)
    linear = 0
    for name, module in layers:
        weight = module.weight
        first = ".h.0.attn.c_attn" in name and "lora_B" not in name
        passes = 1 + (full or not first) + weight.requires_grad
        tokens = scored if module in narrowed else computed
        linear += 2 * passes * weight.numel() * tokens
    seen = sum(_seen(group) for group in groups)
    config = network.config
    return linear + 3 * 4 * config.hidden_size * config.num_hidden_layers * seen


def _seen(group: Group) -> int:
    """Number of (query, key): a token sees itself and what comes before it on its side."""
    own = [len(sequence) - group.prefix for sequence in group.sequences]
    triangles = sum(n * (n + 1) // 2 for n in [group.prefix, *own])
    return triangles + group.prefix * sum(own)
