"""reward/training/gradient.py: the gradient of a batch, however it is cut; lack of memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel

from benchmarks.pairs import all_compared
from reward.harness.errors import InputError
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.scoring.scorer import Scorer
from reward.training.gradient import BatchGradient
from reward.training.losses import LOSSES
from reward.training.settings import Weighting
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


def gradient(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat(
        [p.grad.flatten() for p in network.parameters() if p.requires_grad and p.grad is not None]
    )


def one_big_batch(
    network: PreTrainedModel,
    compared: Comparisons,
    batch: list[int],
    loss: str,
    gaps: np.ndarray,
    weighting: Weighting,
) -> torch.Tensor:
    """The loss by transformers' own rewards: every pair with two rows of its own, all in one batch.

    The terms are spelt out pair by pair; of plackett-luce, for answers that stand best first.
    """
    rows = [pair for pair, (group, _, _) in enumerate(compared.pairs) if group in batch]
    sides = [
        Group((compared.groups[group].sequences[side],), 0)
        for group, *both in compared.pairs[rows]
        for side in both
    ]
    scorer = Scorer(network)
    rewards = scorer(network, sides).view(-1, 2)
    assert scorer.shared is False
    chosen, rejected = rewards.unbind(1)
    gap = torch.from_numpy(gaps[rows]).double()
    losses = {
        "bradley-terry": -logsigmoid(chosen - rejected),
        "margin": -logsigmoid(chosen - rejected - gap),
        "scaled": -gap * logsigmoid(chosen - rejected),
        "soft": -(1 + gap) / 2 * logsigmoid(chosen - rejected)
        - (1 - gap) / 2 * logsigmoid(rejected - chosen),
        "plackett-luce": torch.zeros_like(chosen),
    }[loss]
    losses = losses + 0.1 * torch.square(chosen + rejected)
    sizes = torch.tensor([compared.sizes[compared.pairs[row, 0]] for row in rows])
    weights = torch.ones(len(rows)) if weighting == "pairs" else 1 / sizes.double()
    total = (losses * weights).sum()
    if loss == "plackett-luce":
        for group in batch:
            answers = [Group((one,), 0) for one in compared.groups[group].sequences]
            ranked = scorer(network, answers)
            terms = [ranked[k:].logsumexp(0) - ranked[k] for k in range(len(ranked) - 1)]
            share = 1 if weighting == "pairs" else 1 / compared.sizes[group]
            total = total + share * torch.stack(terms).sum()
    return total / weights.sum()


TWO, MANY = (2,) * 7, (2, 4, 3, 7, 2, 5, 4)


@pytest.mark.parametrize(
    ("name", "loss", "answers", "budget", "weighting"),
    [
        *(("gpt2", loss, MANY, 70, "pairs") for loss in LOSSES),
        *(("gpt2", loss, MANY, 70, "prompts") for loss in ("bradley-terry", "plackett-luce")),
        ("gpt2", "margin", TWO, 60, "pairs"),
        ("gpt2", "bradley-terry", MANY, 10**6, "pairs"),
        ("opt", "bradley-terry", MANY, 1, "prompts"),
        ("bert", "scaled", TWO, 60, "pairs"),
        ("bert", "bradley-terry", MANY, 1, "prompts"),
    ],
)
def test_gradient_is_that_of_all_pairs_in_one_big_batch(
    tmp_path: Path,
    name: str,
    loss: str,
    answers: tuple[int, ...],
    budget: int,
    weighting: Weighting,
) -> None:
    compared = all_compared(random_groups(answers))
    network = random_network({**SHARED, **PADDED}[name], torch.float64)
    trainer = make_trainer(
        tmp_path,
        network,
        compared.groups,
        budget=budget,
        loss=loss,
        centring_factor=0.1,
        weighting=weighting,
    )
    assert trainer.scorer.shared is (name in SHARED)
    batch = [5, 0, 3, 2, 6]
    cut = sum(len(trainer.gradient._pieces([i])) for i in batch)
    assert (cut > 3) is (budget < 10**6 and answers == MANY)
    assert budget == 10**6 or len(trainer.gradient.micro_batches(batch)) > 2
    reported = trainer.training_step(network, batch)
    found = gradient(network)

    network = random_network({**SHARED, **PADDED}[name], torch.float64)
    gaps = trainer.pair_objective.gaps
    expected = one_big_batch(network, compared, batch, loss, gaps, weighting)
    expected.backward()
    assert (found - gradient(network)).norm() < 1e-10 * found.norm()
    assert float(reported) == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("budget", [10**6, 1])
def test_each_answer_is_computed_once_and_in_pieces_the_prefix_once_a_piece(
    tmp_path: Path, budget: int
) -> None:
    """The tokens that go into the network's embedding, with and without a gradient."""
    (group,) = groups = random_groups((5,))
    assert group.prefix > 3
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, groups, budget=budget)
    assert trainer.scorer.shared
    computed: dict[bool, list[int]] = {True: [], False: []}

    def count(_: Any, inputs: tuple[torch.Tensor]) -> None:
        computed[torch.is_grad_enabled()].append(inputs[0].numel())

    embedding = network.get_submodule("transformer.wte")
    embedding.register_forward_pre_hook(count)
    trainer.training_step(network, [0])
    own = [len(sequence) - group.prefix for sequence in group.sequences]
    if budget == 1:
        pairs = [own[0] + own[1], own[2] + own[3], own[4]]
        assert computed[True] == [group.prefix + tokens for tokens in pairs]
        assert computed[False] == [group.prefix + own[0], *own[1:]]
    else:
        assert computed == {True: [group.shared_tokens], False: []}


def test_comparisons_need_not_be_all(tmp_path: Path) -> None:
    """Best against worst of three, and a pair that stands twice."""
    groups = random_groups((3, 2))
    pairs = np.array([[1, 1, 0], [0, 0, 2], [0, 0, 1], [0, 0, 2]])
    compared = Comparisons(groups, pairs, pairs[:, 0])
    network = random_network(SHARED["gpt2"], torch.float64)
    trainer = make_trainer(tmp_path, network, groups, compared=compared, centring_factor=0.1)
    trainer.training_step(network, [1, 0])
    found = gradient(network)
    network = random_network(SHARED["gpt2"], torch.float64)
    gaps = trainer.pair_objective.gaps
    one_big_batch(network, compared, [1, 0], "bradley-terry", gaps, "pairs").backward()
    assert (found - gradient(network)).norm() < 1e-10 * found.norm()


def test_dropout_of_any_form_is_off(tmp_path: Path) -> None:
    """OPT drops out in function calls, which TRL's switch for layers does not reach."""
    groups = random_groups((2,) * 5)
    gradients = []
    for budget in (60, 10**6):
        network = random_network(SHARED["opt"]).train()
        assert network.config.dropout > 0
        make_trainer(tmp_path, network, groups, budget=budget).training_step(network, [*range(5)])
        gradients.append(gradient(network))
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[0].norm()


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_out_of_memory_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    groups = random_groups((2,) * 8)
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, groups, budget=150)
    batch = list(range(8))
    expected_loss = float(trainer.training_step(network, batch))
    expected = gradient(network)
    network.zero_grad()

    accumulate = BatchGradient._backward
    refused = []

    def tight(self: BatchGradient, model: torch.nn.Module, pairs: list[int], weight: float) -> Any:
        too_much = sum(groups[i].shared_tokens for i in pairs) > 100
        if too_much:
            refused.append(pairs)
        if too_much and where == "forward":
            raise RuntimeError(OUT_OF_MEMORY)
        sums = accumulate(self, model, pairs, weight)
        if too_much:  # the gradient is there already, in part or in whole
            raise RuntimeError(OUT_OF_MEMORY)
        return sums

    monkeypatch.setattr(BatchGradient, "_backward", tight)
    loss = float(trainer.training_step(network, batch))
    assert len(refused) >= 2
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert (gradient(network) - expected).norm() < 1e-5 * expected.norm()

    refused.clear()
    network.zero_grad()
    trainer.training_step(network, batch)
    assert len(refused) == 0  # the next batch is cut to what has fitted


def test_a_group_that_does_not_fit_is_cut_smaller_and_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = random_groups((7, 2, 6))
    network = random_network(SHARED["gpt2"], torch.float64)
    trainer = make_trainer(tmp_path, network, groups)
    trainer.training_step(network, [0, 1, 2])
    expected = gradient(network)
    network.zero_grad()
    call, refused = Scorer.__call__, []
    pairs = [piece for group in groups for piece in group.pieces(1, known=False, least=2)]
    most = max(pair.shared_tokens for pair in pairs)

    def tight(self: Scorer, model: Any, several: list[Group], *cache: Any) -> torch.Tensor:
        if self.cost(several) > most and torch.is_grad_enabled():
            refused.append(self.cost(several))
            raise RuntimeError(OUT_OF_MEMORY)
        return call(self, model, several, *cache)

    monkeypatch.setattr(Scorer, "__call__", tight)
    trainer.training_step(network, [0, 1, 2])
    assert len(refused) >= 3
    assert trainer.gradient._pieces([0])
    assert (gradient(network) - expected).norm() < 1e-10 * expected.norm()


def test_a_pair_of_a_group_that_alone_does_not_fit_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((7,)))

    def full(*_: Any) -> Any:
        raise RuntimeError(OUT_OF_MEMORY)

    monkeypatch.setattr(BatchGradient, "_backward", full)
    monkeypatch.setattr(BatchGradient, "_score", full)
    with pytest.raises(InputError, match=r"a single pair of .* tokens does not fit .* max_length"):
        trainer.training_step(network, [0])


def test_a_pair_that_alone_does_not_fit_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 3))

    def full(*_: Any) -> Any:
        raise RuntimeError(OUT_OF_MEMORY)

    monkeypatch.setattr(BatchGradient, "_backward", full)
    with pytest.raises(InputError, match=r"a single pair of .* tokens does not fit .* max_length"):
        trainer.training_step(network, [0, 1, 2])


def test_another_failure_is_not_taken_for_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 3))

    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(BatchGradient, "_backward", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.training_step(network, [0, 1, 2])
