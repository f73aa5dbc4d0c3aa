"""reward/scoring/head.py: which layer it is, and that it alone works in float32."""

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from reward.harness.errors import InputError
from reward.scoring.head import Head, head_names, in_head
from tests.support.networks import ENCODERS, SHARED, random_network

IDS = torch.tensor([[5, 6, 7]])


# What stands after the last hidden states, as each architecture calls it.
HEADS = {
    "albert": ["albert.pooler", "classifier"],
    "bert": ["bert.pooler", "classifier"],
    "deberta-v2": ["pooler", "classifier"],
    "distilbert": ["pre_classifier", "classifier"],
    "electra": ["classifier"],
    "eurobert": ["dense", "classifier"],
    "gpt2": ["score"],
    "llama": ["score"],
    "modernbert": ["head", "classifier"],
    "roberta": ["classifier"],
    "xlm-roberta": ["classifier"],
}
KINDS = SHARED | ENCODERS


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_all_after_the_last_hidden_states(name: str) -> None:
    network = random_network(KINDS[name])
    assert head_names(network) == HEADS[name]
    (weight, *_) = network.get_submodule(HEADS[name][0]).state_dict()
    assert in_head(network, f"{HEADS[name][0]}.{weight}")
    assert not in_head(network, f"{network.base_model_prefix}.{HEADS[name][-1]}.weight")


def test_a_network_without_a_layer_beside_its_backbone_is_refused() -> None:
    network = random_network(SHARED["llama"])
    del network.score
    with pytest.raises(InputError, match=r"no layer beside its backbone \(model\), .*: choose"):
        head_names(network)


@pytest.mark.parametrize("name", ENCODERS)
def test_all_of_a_head_works_in_float32_also_under_autocast(name: str) -> None:
    network = random_network(ENCODERS[name], torch.bfloat16)
    weights, layers = list(network.state_dict()), head_names(network)
    given: list[torch.dtype] = []
    network.get_submodule(layers[0]).register_forward_pre_hook(
        lambda _, inputs: given.append(inputs[0].dtype)
    )
    head = Head(network)
    assert list(network.state_dict()) == weights
    for weight, value in network.named_parameters():
        assert (value.dtype == torch.float32) == in_head(network, weight), weight
    rewards = [reward_of(network, head)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rewards.append(reward_of(network, head))
    assert given[0] == torch.bfloat16
    for one in rewards:
        assert one.dtype == torch.float32
        assert (one != one.bfloat16().float()).any()  # it has digits that bfloat16 has not


def test_a_reward_of_deberta_by_hand() -> None:
    """The first token's hidden state through the pooler, GELU and the classifier, in float32."""
    network = random_network(ENCODERS["deberta-v2"], torch.bfloat16)
    with torch.no_grad():
        hidden = network.base_model(IDS).last_hidden_state[0, 0].float()
    weights = {name: value.float() for name, value in network.state_dict().items()}
    pooled = hidden @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"]
    pooled = pooled * (1 + torch.erf(pooled / 2**0.5)) / 2
    expected = pooled @ weights["classifier.weight"].T + weights["classifier.bias"]
    torch.testing.assert_close(reward_of(network, Head(network))[0], expected)


def reward_of(network: PreTrainedModel, head: Head) -> torch.Tensor:
    network(IDS)
    return head.rewards


@pytest.mark.parametrize("name", ["llama", "roberta"])
def test_rewards_have_the_digits_of_float32_also_under_autocast(name: str) -> None:
    """The backbone works in bfloat16; its hidden states are given to a head in float32."""
    network = random_network(KINDS[name], torch.bfloat16)
    names = list(network.state_dict())
    hidden: list[torch.Tensor] = []
    layer = network.get_submodule(head_names(network)[0])
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
