"""reward/scoring/layers.py: activations that are computed again give the same gradient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from reward.harness.errors import InputError
from reward.scoring import layers
from reward.scoring.layers import compute_again_in_backward
from reward.scoring.scorer import Scorer
from reward.sources.backbones import Lora
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

GROUPS = random_groups((2,) * 7)
BATCH = [5, 0, 3, 2, 6]


def gradients(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: weight.grad.clone()
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8, targets="all-linear")])
@pytest.mark.parametrize("name", SHARED | PADDED)
def test_the_gradient_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lora: Lora | None
) -> None:
    ran: list[str] = []
    checkpoint = layers.checkpoint

    def counted(forward: Any, *inputs: Any, **options: Any) -> Any:
        def run(*again: Any, **more: Any) -> Any:
            ran.append("layer")
            return forward(*again, **more)

        return checkpoint(run, *inputs, **options)

    monkeypatch.setattr(layers, "checkpoint", counted)
    found = []
    for again in (False, True):
        network = random_network((SHARED | PADDED)[name])
        if again:
            compute_again_in_backward(network)
        trainer = make_trainer(tmp_path, network, GROUPS, budget=60, lora=lora)
        assert trainer.scorer.shared is (name in SHARED)
        ran.clear()
        loss = trainer.training_step(network, BATCH)
        passes = len(trainer.gradient.micro_batches(BATCH))
        assert len(ran) == again * passes * 2 * 2  # of two layers, forwards and backwards
        found.append((loss, gradients(network)))
    (loss, expected), (other, same) = found
    assert torch.equal(loss, other)
    assert len(expected) > 2
    assert set(expected) == set(same)
    for weight, gradient in expected.items():
        assert torch.equal(gradient, same[weight]), weight


def test_a_layout_is_known_where_the_backward_pass_has_its_own_thread(tmp_path: Path) -> None:
    """As it has on a GPU: there, no context variable is what it was."""
    import threading

    network = random_network(SHARED["gpt2"])
    compute_again_in_backward(network)
    trainer = make_trainer(tmp_path, network, GROUPS)
    assert trainer.scorer.shared
    rewards = trainer.scorer(network, GROUPS)
    thread = threading.Thread(target=lambda: rewards.sum().backward())
    thread.start()
    thread.join()
    found = gradients(network)
    network.zero_grad()
    trainer.scorer(network, GROUPS).sum().backward()
    assert found
    for name, gradient in gradients(network).items():
        assert torch.equal(gradient, found[name])


@pytest.mark.parametrize("name", ["gpt2", "gpt-neo"])
def test_scores_are_the_same_where_a_prefix_is_kept(name: str) -> None:
    """A group in several rows, whose layers read the cache once each."""
    groups = random_groups((9,))

    def scores(network: PreTrainedModel) -> np.ndarray:
        scorer = Scorer(network)
        scorer.share_prefixes(groups)
        return scorer.score(groups, 80, None)[0]

    plain, again = (random_network((SHARED | PADDED)[name]) for _ in range(2))
    compute_again_in_backward(again)
    np.testing.assert_array_equal(scores(again), scores(plain))


def test_a_network_without_such_layers_is_refused() -> None:
    class Without(torch.nn.Linear):
        pass

    with pytest.raises(
        InputError, match=r"train.activation_checkpointing has no layers .* Without"
    ):
        compute_again_in_backward(Without(2, 2))  # type: ignore[arg-type]
