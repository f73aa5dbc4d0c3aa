"""What this project takes of libraries without a promise that it stays: each part by its name.

A test that fails here after an upgrade says what has gone; the module that used it says what for.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from peft.utils.other import ModulesToSaveWrapper
from transformers import (
    AttentionInterface,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)
from transformers.activations import GELUTanh, NewGELUActivation
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_callback import CallbackHandler
from trl import RewardConfig, RewardTrainer

from reward.scoring.attention import ATTENTION
from reward.scoring.internals import (
    attention_of,
    layers_of,
    takes_attention,
    takes_positions,
    takes_use_cache,
    use_attention,
)
from reward.training.base_trainer import BaseTrainer
from tests.support.networks import PADDED, SHARED, random_network

PROJECT = Path(__file__).parents[2]
ROOMS = ("scoring", "training", "serving")
CONTACTS = {"internals.py", "base_trainer.py"}  # where a library's private name may stand


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (PreTrainedModel, "_no_split_modules"),
        (PreTrainedModel, "_supports_attention_backend"),
        (PreTrainedModel, "base_model_prefix"),
        (PreTrainedModel, "set_attn_implementation"),
        (AttentionInterface, "register"),
        (TrainingArguments, "_setup_devices"),
        (TrainingArguments, "n_gpu"),
        (Trainer, "_load_best_model"),
        (Trainer, "_save_checkpoint"),
        (Trainer, "compute_loss_context_manager"),
        (Trainer, "evaluate"),
        (Trainer, "get_train_dataloader"),
        (Trainer, "training_step"),
        (RewardTrainer, "_save_checkpoint"),
        (RewardTrainer, "_send_telemetry"),
        (RewardTrainer, "log"),
        (CallbackHandler, "on_evaluate"),
        (ModulesToSaveWrapper, "update"),
        (Accelerator, "get_state_dict"),
    ],
)
def test_is_still_there(owner: type, name: str) -> None:
    assert hasattr(owner, name)


def test_what_a_network_says_of_itself() -> None:
    gpt2, bert = random_network(SHARED["gpt2"]), random_network(PADDED["bert"])
    assert takes_attention(gpt2)
    assert takes_attention(bert)
    assert not takes_attention(random_network(PADDED["gpt-neo"]))
    assert takes_positions(gpt2)
    assert takes_use_cache(gpt2)
    assert attention_of(gpt2) == "sdpa"
    for network in map(random_network, SHARED.values()):
        names = [type(layer).__name__ for layer in layers_of(network)]
        assert len(names) == network.config.num_hidden_layers, names


@pytest.mark.parametrize("name", SHARED)
def test_attention_is_called_as_ours_expects(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By every layer, with tensors of (rows, heads, tokens, width) and no word that ours lacks."""
    calls: list[dict[str, Any]] = []

    def attention(
        module: torch.nn.Module, *parts: Any, **options: Any
    ) -> tuple[torch.Tensor, None]:
        query, key, value, _mask = parts
        assert query.shape[2] == key.shape[2] == value.shape[2] == 5
        calls.append(options)
        return query.transpose(1, 2), None

    registered = AttentionInterface.valid_keys(AttentionInterface())
    assert ATTENTION in registered
    monkeypatch.setitem(AttentionInterface._global_mapping, ATTENTION, attention)
    network = random_network(SHARED[name])
    plain = attention_of(network)
    use_attention(network, ATTENTION)
    assert attention_of(network) == ATTENTION
    network(torch.arange(5)[None], use_cache=False)
    assert len(calls) == network.config.num_hidden_layers
    for options in calls:
        assert "scaling" in options
    use_attention(network, plain)
    assert attention_of(network) == plain


@pytest.mark.parametrize("name", SHARED)
def test_layers_can_compute_their_activations_again(name: str) -> None:
    layers = layers_of(random_network(SHARED[name]))
    assert all(isinstance(layer, GradientCheckpointingLayer) for layer in layers)


def test_the_settings_of_fsdp_are_part_of_the_state() -> None:
    assert "fsdp_plugin" in inspect.getsource(AcceleratorState.__init__)


def test_gpt2_has_the_activation_that_is_replaced() -> None:
    network = random_network(SHARED["gpt2"])
    found = [module for module in network.modules() if isinstance(module, NewGELUActivation)]
    assert len(found) == 2
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(GELUTanh()(x), found[0](x))


def test_signatures_that_are_overridden_or_called() -> None:
    for owner in (Trainer, RewardTrainer):
        assert [*inspect.signature(owner._save_checkpoint).parameters] == ["self", "model", "trial"]
    assert [*inspect.signature(Trainer.training_step).parameters][1:3] == ["model", "inputs"]
    assert [*inspect.signature(CallbackHandler.on_evaluate).parameters][:5] == [
        "self",
        "args",
        "state",
        "control",
        "metrics",
    ]
    assert "position_ids" in inspect.signature(GPT2ForSequenceClassification.forward).parameters


def test_number_of_gpus_can_be_lowered(tmp_path: Path) -> None:
    arguments = RewardConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none")
    arguments._n_gpu = 3
    assert arguments.n_gpu == 3


def test_trainers_call_what_is_overridden() -> None:
    """An override of a name that nobody calls any more would do nothing without a word."""
    base = next(kind for kind in RewardTrainer.__mro__ if "_send_telemetry" in vars(kind))
    assert "self._send_telemetry()" in inspect.getsource(base)
    assert "self._save_checkpoint(" in inspect.getsource(Trainer)
    log = inspect.getsource(RewardTrainer.log)
    assert 'mode = "train" if self.model.training else "eval"' in log
    assert "self._metrics[mode]" in log
    assert "self._load_best_model()" in inspect.getsource(Trainer)
    for name in ("_send_telemetry", "_save_checkpoint", "_load_best_model"):
        assert name in vars(BaseTrainer)


def test_lack_of_memory_is_recognised() -> None:
    for message in (
        "CUDA out of memory. Tried to allocate 1 bytes.",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.",
    ):
        assert should_reduce_batch_size(RuntimeError(message))
    assert not should_reduce_batch_size(RuntimeError("mat1 and mat2 cannot be multiplied"))
    clear_device_cache(garbage_collection=True)


@pytest.mark.parametrize("room", ROOMS)
def test_private_names_of_libraries_stand_in_two_modules_alone(room: str) -> None:
    """A private name of another object than `self` or `cls`, or one that RewardTrainer defines."""
    for file in (PROJECT / "reward" / room).glob("*.py"):
        if file.name in CONTACTS:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                whose = ast.unparse(node.value)
                # os._exit ends a process; the others are those of named tuples.
                ours = whose in ("self", "cls") or node.attr in ("_asdict", "_fields", "_exit")
                assert ours, f"{file.name}, line {node.lineno}: {whose}.{node.attr}"
                assert node.attr not in {*dir(RewardTrainer), "_metrics"}, f"{file.name}: {whose}"
