"""What this project takes of the inside of transformers' networks: none of it is promised to stay.

tests/scoring/test_library_contacts.py names each part, and fails where an upgrade takes it away.
"""

import inspect

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def takes_attention(network: PreTrainedModel) -> bool:
    """Whether a network takes its attention from transformers' AttentionInterface."""
    return bool(network._supports_attention_backend)


def attention_of(network: PreTrainedModel) -> str:
    """The name of the attention that a network uses."""
    return network.config._attn_implementation


def use_attention(network: PreTrainedModel, name: str) -> None:
    """Let a network use an attention of transformers' AttentionInterface."""
    network.set_attn_implementation(name)


def takes_positions(network: PreTrainedModel) -> bool:
    """Whether a network can be given the position of each token."""
    return "position_ids" in inspect.signature(type(network).forward).parameters


def takes_use_cache(network: PreTrainedModel) -> bool:
    """Whether a network keeps keys and values for later calls, and can be asked not to."""
    return "use_cache" in inspect.signature(type(network).forward).parameters


def layers_of(network: PreTrainedModel) -> list[nn.Module]:
    """The layers of a network, in order: its longest list of blocks that can be computed again."""
    lists = [
        list(module)
        for module in network.modules()
        if isinstance(module, nn.ModuleList)
        and len(module) > 0
        and all(isinstance(block, GradientCheckpointingLayer) for block in module)
    ]
    return max(lists, key=len, default=[])
