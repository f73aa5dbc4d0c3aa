"""reward/scoring/layers.py: parts that cost less give the same numbers and the same gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from reward.scoring.groups import Group
from reward.scoring.layers import (
    InPlaceEmbedding,
    add_embedding_gradients_in_place,
    fuse_gelu,
    last_feed_forward,
)
from reward.scoring.scorer import Scorer
from tests.support.networks import SHARED, random_groups, random_network


def test_fused_gelu_is_the_same_function() -> None:
    network = random_network(SHARED["gpt2"], torch.float64)
    one = torch.from_numpy(random_groups((1,))[0].sequences[0])[None]
    before = network(one).logits
    fuse_gelu(network)
    torch.testing.assert_close(network(one).logits, before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", [None, 2])
def test_gradients_of_an_embedding_add_up_in_place(padding: int | None) -> None:
    torch.manual_seed(0)
    plain, changed = (
        nn.Embedding(5, 3, padding_idx=padding, dtype=torch.float64) for _ in range(2)
    )
    changed.load_state_dict(plain.state_dict())
    add_embedding_gradients_in_place(changed)
    batches = [torch.tensor([[1, 3, 3]]), torch.tensor([[2, 2], [0, 3]]), torch.tensor([[4]])]
    first = None
    for ids in batches:
        for embedding in (plain, changed):
            embedding(ids).square().sum().backward()
        assert plain.weight.grad is not None
        assert changed.weight.grad is not None
        torch.testing.assert_close(changed.weight.grad, plain.weight.grad, rtol=1e-12, atol=0)
        first = first or changed.weight.grad.data_ptr()
        assert changed.weight.grad.data_ptr() == first  # no other table was made


def test_in_place_gradients_leave_names_and_weights_alone() -> None:
    network = random_network(SHARED["gpt2"])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    add_embedding_gradients_in_place(network)
    assert isinstance(network.get_input_embeddings(), InPlaceEmbedding)
    assert not [name for name in vars(network.get_input_embeddings()) if name == "forward"]
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_scaled_embedding_is_left_alone() -> None:
    network = random_network(SHARED["gemma3 with a window"])
    table = network.get_input_embeddings()
    assert type(table) is not nn.Embedding
    before = table.forward
    add_embedding_gradients_in_place(network)
    assert table.forward == before


def test_the_last_feed_forward_part_sees_the_scored_tokens_alone() -> None:
    network = random_network(SHARED["llama"])
    groups = random_groups((2, 1, 3))
    scorer = Scorer(network)
    assert scorer.share_prefixes(groups)
    widths = []
    for layer in network.model.layers:
        layer.mlp.down_proj.register_forward_hook(lambda *call: widths.append(call[2].shape[1]))
    scorer(network, groups)
    assert widths == [sum(group.shared_tokens for group in groups), 6]
    assert last_feed_forward(network) is network.model.layers[-1].mlp


def test_two_answers_scored_at_one_place_both_count() -> None:
    """With pad == eos, answers of eos alone are scored at the shared prefix's last token."""
    network = random_network(SHARED["gpt2"], torch.float64)
    network.config.pad_token_id = 2
    group = Group.of([np.array([5, 6, 7, 2]), np.array([5, 6, 7, 2, 2])])
    alone = network(torch.tensor([[5, 6, 7]])).logits[0, 0]
    (2 * alone).backward()
    embedding = network.get_parameter("transformer.wte.weight")
    expected, embedding.grad = embedding.grad, None
    scorer = Scorer(network)
    assert scorer.share_prefixes([*random_groups((2,)), group])
    rewards = scorer(network, [group])
    torch.testing.assert_close(rewards, torch.stack([alone, alone]), rtol=1e-10, atol=1e-10)
    rewards.sum().backward()
    torch.testing.assert_close(embedding.grad, expected)


def test_a_network_without_such_a_part_computes_every_token() -> None:
    assert last_feed_forward(random_network(SHARED["opt"])) is None
