"""Layers that are not trained: the same weights as with their gradients switched off."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from benchmarks.pairs import all_compared
from reward.scoring.border import Border
from reward.scoring.states import Store
from reward.training.frozen import write_frozen
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.trainers import make_trainer

NETWORKS = SHARED | PADDED
GROUPS = random_groups((2, 2, 3, 2, 4, 2, 2, 2, 5, 2, 2, 2))


def frozen(network: PreTrainedModel, trained: int) -> PreTrainedModel:
    Border(network, trained).freeze()
    return network


@pytest.mark.parametrize("trained", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_stored_states_give_the_weights_of_gradients_switched_off(
    name: str, trained: int, tmp_path: Path
) -> None:
    compared = all_compared(GROUPS)
    sets = {"train": compared, "validation": all_compared(GROUPS[:4])}
    write_frozen(
        random_network(NETWORKS[name]),
        trained,
        sets,
        tmp_path / "states",
        budget=300,
        most_bytes=1e9,
        depths=2,
    )
    weights = []
    for store in (None, Store.open(tmp_path / "states")):
        network = frozen(random_network(NETWORKS[name]), trained)
        first = {key: value.clone() for key, value in network.state_dict().items()}
        trainer = make_trainer(
            tmp_path / str(bool(store)), network, GROUPS, epochs=2, budget=300, store=store
        )
        trainer.train()
        changed = {
            key for key, value in network.state_dict().items() if not torch.equal(value, first[key])
        }
        weights.append(network.state_dict())
        assert changed
        print(sorted(changed))
    worst = max(
        float((weights[0][k].float() - weights[1][k].float()).abs().max()) for k in weights[0]
    )
    print(name, trained, worst)
    for key, value in weights[0].items():
        if trained:
            assert torch.equal(value, weights[1][key]), key
        else:
            torch.testing.assert_close(value, weights[1][key], rtol=1e-5, atol=1e-6)
