"""reward/training/trainer.py: checkpoints, one GPU, what ends a run, adapters."""

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import TrainingArguments

from reward.harness.errors import InputError
from reward.scoring.head import head_names
from reward.scoring.model_folder import open_model
from reward.scoring.scorer import Scorer
from reward.sources.backbones import Lora
from reward.training import checkpoints
from reward.training.checkpoints import latest
from reward.training.gradient import BatchGradient
from reward.training.trainer import PairTrainer
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."


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


def test_a_run_that_is_taken_up_cuts_its_batches_as_the_interrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory was short in the first step; it is not when the run goes on."""
    groups = random_groups((2,) * 8)
    saving: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
    backward, step = BatchGradient._backward, PairTrainer.training_step
    starting: list[BatchGradient] = []  # those whose run is in its first step

    def short(self: BatchGradient, model: torch.nn.Module, micro: list[int], weight: float) -> Any:
        if self in starting and len(micro) > 1:
            raise RuntimeError(OUT_OF_MEMORY)
        return backward(self, model, micro, weight)

    def stepped(self: PairTrainer, *rest: Any) -> torch.Tensor:
        starting[:] = [self.gradient] if self.state.global_step == 0 else []
        return step(self, *rest)

    def killed(self: PairTrainer, *rest: Any) -> torch.Tensor:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return stepped(self, *rest)

    def start(folder: Path) -> PairTrainer:
        network = random_network(SHARED["gpt2"])
        options = {"batch_pairs": 4, "epochs": 2, "budget": 10**6} | saving
        return make_trainer(folder, network, groups, **options)

    monkeypatch.setattr(BatchGradient, "_backward", short)
    monkeypatch.setattr(PairTrainer, "training_step", stepped)
    whole = start(tmp_path / "whole")
    whole.run(None)
    assert whole.gradient.budget < sum(sorted(group.shared_tokens for group in groups)[:4])
    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "killed").run(None)
    monkeypatch.setattr(BatchGradient, "_backward", backward)
    resumed = start(tmp_path / "killed")
    checkpoint = latest(tmp_path / "killed/checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-2"
    assert len(resumed.gradient.micro_batches([0, 1, 2, 3])) == 1
    resumed.run(checkpoint)
    assert resumed.gradient.budget == whole.gradient.budget
    assert len(resumed.gradient.micro_batches([0, 1, 2, 3])) > 1
    first, second = (cast(torch.nn.Module, one.model) for one in (whole, resumed))
    expected = first.state_dict()
    for name, weight in second.state_dict().items():
        assert torch.equal(weight, expected[name]), name
    assert resumed.summary() == whole.summary()


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
    for head in head_names(network):
        assert any(f"{head}.modules_to_save" in name for name in changed)
    assert all("lora_" in name or ".modules_to_save." in name for name in changed)
    unmerged = trainer.scorer.score(groups, 500, None)
    assert np.abs(np.array(unmerged) - np.array(before)).max() > 1e-2

    adapted.merge_and_unload().save_pretrained(tmp_path / "model")
    merged = Scorer(open_model(tmp_path / "model", torch.device("cpu"))).score(groups, 500, None)
    np.testing.assert_allclose(merged, unmerged, rtol=1e-4, atol=1e-5)
