"""Parts of a network made to cost less: what they compute, and its gradient, stays the same."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer

from reward.harness.errors import InputError
from reward.scoring.internals import layers_of
from reward.scoring.layout import current_layout, same_layout


def fuse_gelu(network: nn.Module) -> None:
    """Replace GPT-2's activation, eight passes over memory in Python, by torch's one-pass kernel.

    Both are 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016).
    """
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, GELUTanh())


def add_embedding_gradients_in_place(network: nn.Module) -> None:
    """Let every micro-batch but a step's first add its gradient to the rows that it has read.

    torch makes a gradient of the whole vocabulary for each, which for a small backbone is a good
    part of all memory and time. Plain embeddings become ones of a subclass, under the same names.
    """
    for module in network.modules():
        plain = type(module) is nn.Embedding and module.max_norm is None
        if plain and not module.scale_grad_by_freq and not module.sparse:
            module.__class__ = InPlaceEmbedding


class InPlaceEmbedding(nn.Embedding):
    """An embedding whose gradients are added up in place."""

    def forward(self, input: Tensor) -> Tensor:
        return _InPlace.apply(input, self.weight, self.padding_idx)


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding_idx = weight, padding_idx
        return embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, None]:
        (ids,) = ctx.saved_tensors
        ids, rows = ids.flatten(), gradient.flatten(0, -2)
        if ctx.padding_idx is not None:
            rows = rows * (ids != ctx.padding_idx)[:, None]
        weight = ctx.weight
        if weight.grad is None:
            return None, torch.zeros_like(weight).index_add_(0, ids, rows), None
        weight.grad.index_add_(0, ids, rows)
        return None, None, None


def compute_again_in_backward(network: PreTrainedModel) -> None:
    """Let every layer keep its input alone, and compute the rest again in the backward pass.

    Transformers' own switch works in training mode alone, in which some layers drop out, and knows
    of no layout. What computes again has to find the same values: dropout must be off, and no layer
    may add to a cache.

    Raises InputError where transformers names no layers that can be computed again.
    """
    layers = [
        module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    if not layers:
        raise InputError(
            f"train.activation_checkpointing has no layers to work on in "
            f"{type(network).__name__}: set it to false."
        )
    for layer in layers:
        # Not around __call__: the hooks by which FSDP gathers weights stay outside.
        layer.forward = partial(_again_in_backward, layer.forward)


def _again_in_backward(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=_first_and_again,
        **options,
    )


def _first_and_again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    # On a GPU the backward pass has its own thread, in which no layout is set.
    return nullcontext(), same_layout()


def last_feed_forward(network: PreTrainedModel) -> nn.Module | None:
    """The feed-forward part of the last layer; None where it is not one module called mlp."""
    layers = layers_of(network)
    return dict(layers[-1].named_children()).get("mlp") if layers else None


class OtherFormError(Exception):
    """A part of a network is called with, or gives, something else than one tensor."""


def only_scored(feed_forward: nn.Module) -> list[RemovableHandle]:
    """Let the last layer's feed-forward part compute the scored tokens alone.

    The results of all other tokens of the row are never used: a feed-forward part works on single
    tokens, and so does what follows. Returns what removes the two hooks, which raise OtherFormError
    where the part is not one from a tensor to a tensor, as in gpt-oss.
    """

    def narrow(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            raise OtherFormError("its feed-forward part takes more than a tensor")
        hidden = inputs[0]  # (1, row, width)
        return (hidden.index_select(1, current_layout().scored),)

    def widen(_: nn.Module, __: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise OtherFormError("its feed-forward part gives more than a tensor")
        layout = current_layout()
        zeros = output.new_zeros(1, layout.input_ids.shape[1], output.shape[2])
        return zeros.index_copy(1, layout.scored, output)

    return [
        feed_forward.register_forward_pre_hook(narrow),
        feed_forward.register_forward_hook(widen),
    ]
