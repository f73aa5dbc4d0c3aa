"""reward/scoring/head.py: which layer it is, and that it alone works in float32."""

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel, RobertaConfig

from reward.harness.errors import InputError
from reward.scoring.head import Head, head_name
from tests.support.networks import BASE, PADDED, SHARED, random_network

IDS = torch.tensor([[5, 6, 7]])


def test_head_names() -> None:
    assert head_name(random_network(SHARED["llama"])) == "score"
    assert head_name(random_network(PADDED["bert"])) == "classifier"


def test_two_layers_beside_the_backbone_are_refused() -> None:
    network = random_network(SHARED["llama"])
    network.add_module("another", nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"has 2 layers beside its backbone \(score, another\)"):
        head_name(network)


def reward_of(network: PreTrainedModel, head: Head) -> torch.Tensor:
    network(IDS)
    return head.rewards


@pytest.mark.parametrize("name", ["llama", "roberta"])
def test_rewards_have_the_digits_of_float32_also_under_autocast(name: str) -> None:
    """The backbone works in bfloat16; its hidden states are given to a head in float32."""
    config = SHARED["llama"] if name == "llama" else RobertaConfig(**BASE)
    network = random_network(config, torch.bfloat16)
    names = list(network.state_dict())
    hidden: list[torch.Tensor] = []
    layer = network.get_submodule(head_name(network))
    layer.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    head = Head(network)
    assert list(network.state_dict()) == names
    assert {weight.dtype for weight in layer.parameters()} == {torch.float32}
    assert "forward" not in vars(layer)
    found = reward_of(network, head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = reward_of(network, head)
    assert found.dtype == under_autocast.dtype == torch.float32
    if name == "llama":
        assert isinstance(layer, nn.Linear)
        assert hidden[0].dtype == torch.bfloat16
        torch.testing.assert_close(found, hidden[0].float() @ layer.weight.T)
        torch.testing.assert_close(under_autocast, hidden[1].float() @ layer.weight.T)


def test_a_head_in_float64_stays_there() -> None:
    network = random_network(SHARED["llama"], torch.float64)
    assert reward_of(network, Head(network)).dtype == torch.float64


def test_a_head_that_peft_has_copied_gives_the_rewards_of_the_copy() -> None:
    network = random_network(SHARED["llama"], torch.bfloat16)
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, modules_to_save=["score"])
    adapted = get_peft_model(network, lora)
    head = Head(network)
    trained = network.get_submodule("score.modules_to_save.default")
    assert next(trained.parameters()).dtype == torch.float32
    assert isinstance(trained, nn.Linear)
    with torch.no_grad():
        trained.weight.fill_(0)
    assert not reward_of(network, head).any()
    merged = adapted.merge_and_unload()
    assert list(merged.state_dict()) == list(random_network(SHARED["llama"]).state_dict())
    assert not merged.get_parameter("score.weight").any()


def test_rewards_are_forgotten_with_their_graph() -> None:
    network = random_network(SHARED["llama"])
    head = Head(network)
    assert reward_of(network, head).grad_fn is not None
    head.forget()
    assert head.rewards.grad_fn is None
