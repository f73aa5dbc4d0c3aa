"""reward/scoring/border.py: which weights stay as they are, and states put in at the border."""

import pytest
import torch
from transformers import AlbertConfig, BartConfig, PreTrainedConfig

from reward.harness.errors import InputError
from reward.scoring.border import Border, StoppedError
from tests.support.networks import BASE, PADDED, SHARED, random_network

IDS = torch.tensor([[5, 6, 7]])


@pytest.mark.parametrize(
    ("name", "trained", "beginnings"),
    [
        ("gpt2", 0, {"score."}),
        ("gpt2", 1, {"transformer.h.1.", "transformer.ln_f.", "score."}),
        # OPT registers the norm behind its layers before them.
        ("opt", 1, {"model.decoder.layers.1.", "model.decoder.final_layer_norm.", "score."}),
        ("gemma", 0, {"score."}),
        ("gemma", 1, {"model.layers.1.", "model.norm.", "score."}),
        ("gemma3 with a window", 1, {"model.layers.1.", "model.norm.", "score."}),
        ("bert", 0, {"bert.pooler.", "classifier."}),
        ("bert", 1, {"bert.encoder.layer.1.", "bert.pooler.", "classifier."}),
        ("gpt-neo", 1, {"transformer.h.1.", "transformer.ln_f.", "score."}),
    ],
)
def test_what_the_states_at_the_border_depend_on_is_frozen_and_nothing_else(
    name: str, trained: int, beginnings: set[str]
) -> None:
    network = random_network((SHARED | PADDED)[name])
    Border(network, trained).freeze()
    found = {weight for weight, value in network.named_parameters() if value.requires_grad}
    assert found == {
        weight for weight, _ in network.named_parameters() if weight.startswith(tuple(beginnings))
    }
    for beginning in beginnings:
        assert any(weight.startswith(beginning) for weight in found), beginning


def test_the_gradients_of_what_is_trained_are_those_of_a_network_without_a_border() -> None:
    own, frozen = (random_network(SHARED["opt"]) for _ in range(2))
    Border(frozen, 1).freeze()
    for network in (own, frozen):
        network(IDS).logits.sum().backward()
    for (name, weight), expected in zip(frozen.named_parameters(), own.parameters(), strict=True):
        assert expected.grad is not None, name
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert torch.equal(weight.grad, expected.grad), name
        else:
            assert weight.grad is None, name


@pytest.mark.parametrize(
    "config",
    [
        # Its layers are one, which is computed twice.
        AlbertConfig(**BASE, embedding_size=16),
        BartConfig(  # type: ignore[call-arg]
            vocab_size=64,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            num_labels=1,
        ),
    ],
    ids=["albert", "bart"],
)
def test_a_network_that_is_not_one_row_of_layers_is_refused(config: PreTrainedConfig) -> None:
    network = random_network(config)
    sentence = rf"^trained_layers=1 needs a backbone that is one row .*{type(network).__name__} is"
    with pytest.raises(InputError, match=sentence):
        Border(network, 1)


@pytest.mark.parametrize("trained", [2, 3])
def test_a_border_below_all_layers_is_refused(trained: int) -> None:
    sentence = rf"^trained_layers={trained} leaves none of the 2 layers as they are: set it to all"
    with pytest.raises(InputError, match=sentence):
        Border(random_network(SHARED["gpt2"]), trained)


def test_a_pass_stops_after_the_last_layer_that_is_asked_for() -> None:
    network = random_network(SHARED["llama"])
    border = Border(network, 1)
    expected = network(IDS, output_hidden_states=True).hidden_states[1]
    with border.stopping([border.last]) as found, pytest.raises(StoppedError):
        network(IDS)
    (states,) = found
    assert torch.equal(states, expected)
    assert network(IDS).logits.shape == (1, 1)  # and goes on to the end afterwards


@pytest.mark.parametrize("trained", [0, 1])
@pytest.mark.parametrize("name", ["gpt2", "gemma3 with a window", "bert", "gpt-neo"])
def test_states_that_are_put_in_take_the_place_of_the_layers_below(name: str, trained: int) -> None:
    network = random_network((SHARED | PADDED)[name])
    border = Border(network, trained)
    own = network(IDS).logits
    border.put_in()
    assert torch.equal(network(IDS).logits, own)  # nothing is given yet
    with border.stopping([border.last]) as found, pytest.raises(StoppedError):
        network(IDS)
    computed: list[str] = []
    for layer in border.below:
        for part in layer.children():
            part.register_forward_hook(lambda part, *_: computed.append(type(part).__name__))
    border.given = found[0]
    # Of other tokens: what lies below counts for nothing.
    assert torch.equal(network(IDS + 3).logits, own)
    assert not computed
    # They are for one pass alone.
    assert not torch.equal(network(IDS + 3).logits, own)
    assert computed
