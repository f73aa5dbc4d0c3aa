"""reward/training/trainer.py: the gradient of a batch, however it is cut; memory; adapters."""

import itertools
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import TrainingArguments

from reward.harness.errors import InputError
from reward.scoring.scorer import Scorer, open_model
from reward.sources.backbones import Lora
from reward.training import checkpoints
from reward.training.checkpoints import latest
from reward.training.losses import LOSSES, centring
from reward.training.trainer import PairTrainer, Steps
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


def gradient(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat(
        [p.grad.flatten() for p in network.parameters() if p.requires_grad and p.grad is not None]
    )


def test_an_epoch_takes_every_pair_once() -> None:
    steps = Steps(pairs=10, batch_pairs=4, epochs=3, seed=7)
    batches = list(steps)
    assert len(batches) == len(steps) == 9
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        assert sorted(itertools.chain(*batches[3 * epoch : 3 * epoch + 3])) == list(range(10))
    assert batches[:3] != batches[3:6]
    assert batches == list(Steps(10, 4, 3, seed=7))
    assert batches != list(Steps(10, 4, 3, seed=8))


@pytest.mark.parametrize("name", ["gpt2", "bert"])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_that_of_one_big_batch(tmp_path: Path, name: str, loss: str) -> None:
    groups = random_groups((2,) * 7)
    network = random_network({**SHARED, **PADDED}[name], torch.float64)
    trainer = make_trainer(tmp_path, network, groups, budget=60, loss=loss, centring_factor=0.1)
    batch = [5, 0, 3, 2, 6]
    assert len(trainer.micro_batches(batch)) > 2
    reported = trainer.training_step(network, batch)
    cut = gradient(network)

    # Transformers' own rewards, one padded batch, the mean over pairs.
    network = random_network({**SHARED, **PADDED}[name], torch.float64)
    whole = Scorer(network)
    chosen, rejected = whole(network, [groups[i] for i in batch]).view(-1, 2).unbind(1)
    losses = LOSSES[loss](chosen, rejected, torch.from_numpy(trainer.gaps[batch]))
    expected = (losses + 0.1 * centring(chosen, rejected)).mean()
    expected.backward()
    expected = expected.detach()
    assert whole.shared is False
    difference = (cut - gradient(network)).norm()
    assert difference < 1e-10 * cut.norm()
    assert float(reported) == pytest.approx(float(expected), rel=1e-6)


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


def test_one_process_uses_one_gpu_of_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_up = TrainingArguments.__dict__["_setup_devices"].func

    def two_gpus(arguments: TrainingArguments) -> torch.device:
        device = set_up(arguments)
        arguments._n_gpu = 2
        return device

    stand_in = cached_property(two_gpus)
    stand_in.__set_name__(TrainingArguments, "_setup_devices")
    monkeypatch.setattr(TrainingArguments, "_setup_devices", stand_in)
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 8))
    assert trainer.args.n_gpu == 1
    assert "One of 2 GPUs is used" in caplog.text
    assert np.isfinite(float(trainer.training_step(network, list(range(8)))))


def test_a_checkpoint_is_complete_before_an_older_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed while it deletes one goes on from the newest."""
    newest = []

    discard = checkpoints.discard

    def late(folder: Path) -> None:
        newest.append(cast(Path, latest(folder.parent)).name)
        discard(folder)

    monkeypatch.setattr(checkpoints, "discard", late)
    network = random_network(SHARED["gpt2"])
    groups = random_groups((2,) * 8)
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 1}
    make_trainer(tmp_path, network, groups, batch_pairs=2, **saving).train()
    assert newest == ["checkpoint-3", "checkpoint-4"]
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"checkpoint-3", "checkpoint-4"}


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

    accumulate = PairTrainer._backward
    refused = []

    def tight(self: PairTrainer, model: torch.nn.Module, pairs: list[int], size: int) -> Any:
        too_much = sum(groups[i].shared_tokens for i in pairs) > 100
        if too_much:
            refused.append(pairs)
        if too_much and where == "forward":
            raise RuntimeError(OUT_OF_MEMORY)
        sums = accumulate(self, model, pairs, size)
        if too_much:  # the gradient is there already, in part or in whole
            raise RuntimeError(OUT_OF_MEMORY)
        return sums

    monkeypatch.setattr(PairTrainer, "_backward", tight)
    loss = float(trainer.training_step(network, batch))
    assert len(refused) >= 2
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert (gradient(network) - expected).norm() < 1e-5 * expected.norm()

    refused.clear()
    network.zero_grad()
    trainer.training_step(network, batch)
    assert len(refused) == 0  # the next batch is cut to what has fitted


def test_a_run_that_is_taken_up_cuts_its_batches_as_the_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory was short in the first step; it is not when the run goes on."""
    groups = random_groups((2,) * 8)
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
    backward, step = PairTrainer._backward, PairTrainer.training_step

    def short(self: PairTrainer, model: torch.nn.Module, pairs: list[int], size: int) -> Any:
        if self.state.global_step == 0 and len(pairs) > 1:
            raise RuntimeError(OUT_OF_MEMORY)
        return backward(self, model, pairs, size)

    def killed(self: PairTrainer, *rest: Any) -> torch.Tensor:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *rest)

    def start(folder: Path) -> PairTrainer:
        network = random_network(SHARED["gpt2"])
        options = {"batch_pairs": 4, "epochs": 2, "budget": 10**6} | saving
        return make_trainer(folder, network, groups, **options)

    monkeypatch.setattr(PairTrainer, "_backward", short)
    whole = start(tmp_path / "whole")
    whole.run(None)
    assert whole.budget < sum(sorted(group.shared_tokens for group in groups)[:4])
    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "killed").run(None)
    monkeypatch.setattr(PairTrainer, "_backward", backward)
    resumed = start(tmp_path / "killed")
    checkpoint = latest(tmp_path / "killed/checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2"
    assert len(resumed.micro_batches([0, 1, 2, 3])) == 1
    resumed.run(checkpoint)
    assert resumed.budget == whole.budget
    assert len(resumed.micro_batches([0, 1, 2, 3])) > 1
    first, second = (cast(torch.nn.Module, one.model) for one in (whole, resumed))
    expected = first.state_dict()
    for name, weight in second.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    assert resumed.summary() == whole.summary()


def test_a_pair_that_alone_does_not_fit_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 3))

    def full(*_: Any) -> Any:
        raise RuntimeError(OUT_OF_MEMORY)

    monkeypatch.setattr(PairTrainer, "_backward", full)
    with pytest.raises(InputError, match=r"a single pair of .* tokens does not fit .* max_length"):
        trainer.training_step(network, [0, 1, 2])


def test_another_failure_is_not_taken_for_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 3))

    def broken(*_: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(PairTrainer, "_backward", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.training_step(network, [0, 1, 2])


def test_a_loss_that_is_not_finite_ends_in_one_sentence(tmp_path: Path) -> None:
    network = random_network(SHARED["gpt2"])
    trainer = make_trainer(tmp_path, network, random_groups((2,) * 3))
    torch.nn.init.constant_(network.get_parameter("score.weight"), float("nan"))
    with pytest.raises(InputError, match=r"the loss is nan at step 1, .* train.learning_rate"):
        trainer.training_step(network, [0, 1, 2])


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_merged_adapter_scores_as_the_unmerged_one(tmp_path: Path, name: str) -> None:
    groups = random_groups((2,) * 8)
    network = random_network({**SHARED, **PADDED}[name])
    before = Scorer(random_network({**SHARED, **PADDED}[name])).score(groups, 500, None)
    lora = Lora(rank=4, alpha=8, targets="all-linear")
    trainer = make_trainer(tmp_path, network, groups, epochs=4, lora=lora, learning_rate=1e-2)
    trainer.train()
    adapted = cast(PeftModel, trainer.model)
    changed = {name for name, p in adapted.named_parameters() if p.requires_grad}
    head = "classifier" if name == "bert" else "score"
    assert any(f"{head}.modules_to_save" in name for name in changed)
    assert all("lora_" in name or head in name for name in changed)
    unmerged = trainer.scorer.score(groups, 500, None)
    assert np.abs(np.array(unmerged) - np.array(before)).max() > 1e-2

    adapted.merge_and_unload().save_pretrained(tmp_path / "model")
    merged = Scorer(open_model(tmp_path / "model", torch.device("cpu"))).score(groups, 500, None)
    np.testing.assert_allclose(merged, unmerged, rtol=1e-4, atol=1e-5)
