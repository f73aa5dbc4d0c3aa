"""The head: the layers after a network's backbone that turn hidden states into rewards."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from reward.harness.errors import InputError


class Head:
    """The head of a network, which computes in float32 from now on.

    rewards: what it has given last, (rows, tokens, 1), or (rows, 1) where the network pools first.
        A hook of the head is the one place that every architecture's rewards of all tokens pass:
        what a network returns are those of the tokens that it chooses itself.
    inputs: what it has worked on for that, of the same form but for the last dimension.
    """

    def __init__(self, network: PreTrainedModel):
        layers = [network.get_submodule(name) for name in head_names(network)]
        layers[0].register_forward_pre_hook(self._enter)
        for layer in layers:
            compute_in_float32(layer)
            layer.register_forward_hook(self._keep)
        self.forget()

    def _enter(self, _layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inputs = inputs[0]

    def _keep(self, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        # The last layer to be called is the one that gives the rewards.
        if isinstance(output, Tensor):
            self.rewards = output

    def forget(self) -> None:
        """Let go of the last rewards, and with them of the graph that led to them."""
        self.inputs = self.rewards = torch.empty(0)


def head_names(network: PreTrainedModel) -> list[str]:
    """The names of the layers that stand between a network's last hidden states and its rewards.

    They are those beside the backbone, and the pooler that some encoders have in it: `score` in
    decoders, `bert.pooler` and `classifier` in BERT, `pooler` and `classifier` in DeBERTa,
    `pre_classifier` and `classifier` in DistilBERT.

    Raises InputError where the network has no such part or is not divided so.
    """
    prefix = network.base_model_prefix
    parts = {
        name: part
        for name, part in network.named_children()
        if any(True for _ in part.parameters())
    }
    beside = [name for name in parts if name != prefix]
    if prefix not in parts or not beside:
        raise InputError(
            f"{type(network).__name__} has no layer beside its backbone ({', '.join(parts)}), and "
            f"a reward model has one: choose another backbone."
        )
    poolers = [
        f"{prefix}.{name}"
        for name, part in parts[prefix].named_children()
        if name == "pooler" and any(True for _ in part.parameters())
    ]
    return poolers + beside


def in_head(network: PreTrainedModel, weight: str) -> bool:
    """Whether a weight of this name is one of the head's."""
    return any(weight.startswith(f"{name}.") for name in head_names(network))


def compute_in_float32(head: nn.Module) -> None:
    """Let a head alone work in float32 at least: a reward in bfloat16 has only eight bits.

    Its layers become ones of a subclass. They stay where they are, under the names that they have
    in a state dict, and peft's copies of them are of the same class.
    """
    head.to(torch.promote_types(next(head.parameters()).dtype, torch.float32))
    for layer in head.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Float32Linear


class Float32Linear(nn.Linear):
    """A linear layer that works in float32 at least, under autocast and FSDP too."""

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        # FSDP may hand a layer its float32 weights in 16 bits.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        with torch.autocast(input.device.type, enabled=False):
            return linear(
                input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
            )
