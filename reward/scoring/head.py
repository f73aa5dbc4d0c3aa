"""The head: the layer beside a network's backbone that turns hidden states into rewards."""

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
        layer = network.get_submodule(head_name(network))
        compute_in_float32(layer)
        layer.register_forward_hook(self._keep)
        self.forget()

    def _keep(self, _layer: nn.Module, inputs: tuple[Tensor], rewards: Tensor) -> None:
        (self.inputs,), self.rewards = inputs, rewards

    def forget(self) -> None:
        """Let go of the last rewards, and with them of the graph that led to them."""
        self.inputs = self.rewards = torch.empty(0)


def head_name(network: PreTrainedModel) -> str:
    """The name of the head, which a sequence-classification model has beside its backbone.

    It is `score` in decoders, `classifier` in BERT.

    Raises InputError where there is not exactly one such layer.
    """
    names = [
        name
        for name, child in network.named_children()
        if name != network.base_model_prefix and any(True for _ in child.parameters())
    ]
    if len(names) != 1:
        raise InputError(
            f"{type(network).__name__} has {len(names)} layers beside its backbone "
            f"({', '.join(names)}), and a reward model has one: choose another backbone."
        )
    return names[0]


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
