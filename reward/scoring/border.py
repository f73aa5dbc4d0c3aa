"""The border between the layers of a network that are trained and those below, which stay.

What the layers below give is the same in every epoch and in every run on the same tokens. It is
computed once for each answer, stored (reward.scoring.states), and put in at the border.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reward.harness.errors import InputError
from reward.scoring.groups import Group
from reward.scoring.head import head_names
from reward.scoring.internals import layers_of


class StoppedError(Exception):
    """A forward pass has come as far as it was asked to."""


class Border:
    """Below the top `trained` layers of a network; with 0, below the head alone.

    given: the states at the border for the next forward pass, (rows, tokens, width), or None for a
        pass through all layers. layers: all of them, from the first.

    Raises InputError where the network's layers cannot be told apart, or are too few.
    """

    def __init__(self, network: PreTrainedModel, trained: int):
        self.network, self.trained = network, trained
        self.layers = layers_of(network)
        self.given: Tensor | None = None
        # By layer: of how many parts what it gives is; 0 where that is no tuple.
        self._forms: dict[int, int] = {}
        count = network.config.get_text_config().num_hidden_layers
        if network.config.is_encoder_decoder or len(self.layers) != count:
            raise InputError(
                f"trained_layers={trained} needs a backbone that is one row of layers, and "
                f"{type(network).__name__} is another: set it to all, or choose another backbone."
            )
        if trained >= count:
            raise InputError(
                f"trained_layers={trained} leaves none of the {count} layers as they are: set it "
                f"to all, or to less."
            )
        self.below, self.above = self.layers[: count - trained], self.layers[count - trained :]
        self.last = self.below[-1]

    def freeze(self) -> None:
        """Switch off the gradients of all that the states at the border depend on.

        With no trained layer, also of what stands between the last layer and the head.
        """
        frozen = {id(weight) for layer in self.below for weight in layer.parameters()}
        if self.trained == 0:
            head = [self.network.get_submodule(name) for name in head_names(self.network)]
            kept = {id(weight) for layer in head for weight in layer.parameters()}
            frozen |= {id(weight) for weight in self.network.parameters()} - kept
        else:
            ids = torch.zeros(1, 2, dtype=torch.long, device=self.network.device)
            with torch.enable_grad(), self.stopping([self.last]) as reached, suppress(StoppedError):
                self.network(input_ids=ids)
            frozen |= {id(weight) for weight in _leaves(reached[0])}
        for weight in self.network.parameters():
            if id(weight) in frozen:
                weight.requires_grad_(False)

    @contextmanager
    def stopping(self, layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
        """Forward passes in the block raise StoppedError after the last of some layers, in order.

        Yields the list that gets what each of the layers gave, (rows, tokens, width).
        """
        found: list[Tensor] = []

        def keep(layer: nn.Module, _: Any, output: Any) -> None:
            found.append(states_in(output))
            if layer is layers[-1]:
                raise StoppedError

        hooks = [layer.register_forward_hook(keep) for layer in layers]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    def put_in(self) -> None:
        """Let the layers below give `given`, where it is there, from now on."""
        for layer in self.below:
            layer.forward = self._passing(layer, layer.forward)

    def _passing(self, layer: nn.Module, forward: Any) -> Any:
        def passing(*inputs: Any, **options: Any) -> Any:
            if self.given is None:
                output = forward(*inputs, **options)
                self._forms[id(layer)] = len(output) if isinstance(output, tuple) else 0
                return output
            hidden = inputs[0] if inputs else options["hidden_states"]
            if layer is self.last:
                hidden, self.given = self.given.to(hidden.dtype), None
            form = self._forms[id(layer)]
            return (hidden, *[None] * (form - 1)) if form else hidden

        return passing


def states_in(output: Any) -> Tensor:
    """The hidden states in what a layer gives: a tensor, or the first of several parts."""
    return output[0] if isinstance(output, tuple) else output


def stored_row(groups: Sequence[Group], known: int, device: torch.device) -> Tensor | None:
    """The stored states of a laid-out row, (1, row, width), but for its `known` first tokens."""
    parts = [part for group in groups for part in group.states]
    return _tensor(np.concatenate(parts)[known:], device)[None] if parts else None


def stored_rows(groups: Sequence[Group], longest: int, device: torch.device) -> Tensor | None:
    """The stored states of padded rows, (answers, longest, width)."""
    answers = [
        _tensor(np.concatenate([group.states[0], own]), device)
        for group in groups
        for own in group.states[1:]
    ]
    if not answers:
        return None
    rows = answers[0].new_zeros(len(answers), longest, answers[0].shape[1])
    for row, answer in zip(rows, answers, strict=True):
        row[: len(answer)] = answer
    return rows


def _tensor(states: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(states))
    # NumPy has no bfloat16, whose bits are stored as whole numbers.
    return (tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor).to(device)


def _leaves(tensor: Tensor) -> Iterator[Tensor]:
    """The weights that a tensor was computed from."""
    seen, left = set(), [tensor.grad_fn]
    while left:
        step = left.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if step.name() == "torch::autograd::AccumulateGrad":
            yield step.variable  # type: ignore[attr-defined]
        left += [before for before, _ in step.next_functions]
