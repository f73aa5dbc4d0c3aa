"""Hidden states of a small network's groups, stored in a folder."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from benchmarks.pairs import all_compared
from reward.scoring.groups import Group
from reward.scoring.states import Store
from reward.training.frozen import write_frozen


def store_of(
    network: PreTrainedModel,
    trained: int,
    groups: Sequence[Group],
    folder: Path,
    *,
    budget: int = 300,
    most_bytes: float = 1e9,
) -> Store:
    """What lies below the trained layers, for a training set of all groups and four validation
    groups, as tests/support/trainers.py takes them.
    """
    sets = {"train": all_compared(groups), "validation": all_compared(groups[:4])}
    write_frozen(network, trained, sets, folder, budget=budget, most_bytes=most_bytes, depths=2)
    store = Store.open(folder)
    assert store
    return store
