"""Layers that are not trained: the same weights as with their gradients switched off."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from reward.scoring.border import Border
from reward.scoring.layers import compute_again_in_backward
from reward.scoring.scorer import Scorer
from reward.scoring.states import Store
from reward.sources.backbones import Lora
from reward.training.model_folder import open_tokenizer, save_trained
from reward.training.network import lora_config
from reward.training.trainer import PairTrainer
from tests.support.models import TINY
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.stored import store_of
from tests.support.trainers import make_trainer

NETWORKS = SHARED | PADDED
GROUPS = random_groups((2, 2, 3, 2, 4, 2, 5))
HELD_OUT = random_groups((2,) * 5, seed=1)
LORA = Lora(rank=2, alpha=4, targets="all-linear")


class Run(NamedTuple):
    """A training run with and without stored states."""

    network: str
    trained: int
    budget: int = 300
    again: bool = False  # whether the one with states computes its activations again
    lora: Lora | None = None


def trained(
    run: Run, folder: Path, store: Store | None
) -> tuple[PreTrainedModel, PairTrainer, set[str]]:
    """A network after training, and the names of the weights that have changed."""
    network = random_network(NETWORKS[run.network])
    first = {name: weight.clone() for name, weight in network.state_dict().items()}
    border = Border(network, run.trained)
    border.freeze()
    if run.again and store:
        compute_again_in_backward(network)
    trainer = make_trainer(
        folder,
        network,
        GROUPS,
        batch_pairs=6,
        budget=run.budget,
        learning_rate=0.01,
        lora=run.lora,
        border=border,
        store=store,
    )
    computed: list[str] = []
    for layer in border.below:
        for part in layer.children():
            part.register_forward_hook(lambda part, *_: computed.append(type(part).__name__))
    trainer.train()
    assert bool(computed) == (store is None)
    last = network.state_dict()
    return (
        network,
        trainer,
        {name for name in first if name in last and not torch.equal(first[name], last[name])},
    )


def both(run: Run, folder: Path) -> tuple[PairTrainer, PairTrainer, set[str]]:
    """Trainers that are done, without and with stored states, and what has changed in both."""
    store = store_of(random_network(NETWORKS[run.network]), run.trained, GROUPS, folder / "states")
    _, own, changed = trained(run, folder / "own", None)
    _, put_in, same = trained(run, folder / "put_in", store)
    no_gradient = {"classifier.bias"}  # what all rewards have in common: rounding alone moves it
    assert changed - no_gradient == same - no_gradient
    return own, put_in, changed


@pytest.mark.parametrize(
    "run",
    [
        Run("gpt2", 1),
        Run("gemma3 with a window", 1, again=True),
        Run("gpt-neo", 1),
    ],
    ids=lambda run: run.network,
)
def test_stored_states_give_the_bytes_of_gradients_switched_off(run: Run, tmp_path: Path) -> None:
    own, put_in, changed = both(run, tmp_path)
    assert changed
    beginnings = (
        "model.layers.1.",
        "model.norm.",
        "transformer.h.1.",
        "transformer.ln_f.",
        "score",
    )
    assert all(name.startswith(beginnings) for name in changed)
    weights, others = (trainer.scorer.network.state_dict() for trainer in (own, put_in))
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


@pytest.mark.parametrize(
    "run",
    [
        # Prompts with three answers and more are cut, and find their prefix in a cache.
        Run("gpt2", 1, budget=60),
        Run("gpt2", 0, budget=60),
        Run("gpt2", 0),
        Run("bert", 1),
        Run("bert", 0),
    ],
    ids=lambda run: f"{run.network} {run.trained} {run.budget}",
)
def test_where_passes_hold_other_answers_rewards_are_the_same_up_to_rounding(
    run: Run, tmp_path: Path
) -> None:
    """Rows are padded to other lengths, one token of each answer makes larger micro-batches, and
    where a prompt's answers are cut the layers below compute fewer tokens at once.

    Rewards of other prompts less their mean, not weights: Adam makes a whole step of the rounding
    of a gradient that is 0, as those of keys' biases and of what all rewards have in common are.
    """
    own, put_in, changed = both(run, tmp_path)
    if run.trained == 0:
        assert all(name.startswith(("score.", "bert.pooler.", "classifier.")) for name in changed)
    first, expected, found = (
        rewards - rewards.mean()
        for scorer in (Scorer(random_network(NETWORKS[run.network])), own.scorer, put_in.scorer)
        for rewards in [np.concatenate(scorer.score(HELD_OUT, 10**6, None))]
    )
    moved = np.abs(expected - first).max()
    assert moved > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * moved)


def test_adapters_are_in_the_trained_layers_alone_and_the_merged_model_opens(
    tmp_path: Path,
) -> None:
    run = Run("llama", 1, lora=LORA)
    store = store_of(random_network(NETWORKS[run.network]), 1, GROUPS, tmp_path / "states")
    saved = {}
    for name, states in {"own": None, "put in": store}.items():
        network, trainer, _ = trained(run, tmp_path / name, states)
        adapters = [weight for weight, _ in network.named_parameters() if ".lora_" in weight]
        # A and B of q, k, v, o, gate, up and down.
        assert len(adapters) == 2 * 7
        assert all(weight.startswith("model.layers.1.") for weight in adapters)
        found = {weight for weight, value in network.named_parameters() if value.requires_grad}
        assert found == {*adapters, "score.modules_to_save.default.weight"}
        folder = tmp_path / f"{name} saved"
        save_trained(trainer, open_tokenizer(TINY), folder)
        saved[name] = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    before = random_network(NETWORKS[run.network]).state_dict()
    assert before.keys() == saved["own"].keys()
    for name, weight in saved["own"].items():
        assert torch.equal(weight, saved["put in"][name]), name
        above = name.startswith("model.layers.1.") and "norm" not in name
        assert torch.equal(weight, before[name]) != (above or name == "score.weight"), name


def test_targets_are_sought_in_the_trained_layers() -> None:
    network = random_network(SHARED["gpt2"])
    found = lora_config(Lora(rank=2, alpha=4, targets=["c_fc"]), network, Border(network, 1))
    assert [*(found.target_modules or ())] == ["transformer.h.1.mlp.c_fc"]
