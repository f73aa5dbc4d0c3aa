"""reward/scoring/states.py, state_writer.py: states of hidden layers, stored and used."""

import logging
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.pairs import all_compared
from reward.harness.errors import InputError
from reward.scoring.border import Border
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.scoring.scorer import Scorer
from reward.scoring.state_writer import kept_tokens
from reward.scoring.states import Store
from tests.support.networks import PADDED, SHARED, random_groups, random_network
from tests.support.stored import store_of

NETWORKS = SHARED | PADDED
GROUPS = random_groups((2, 2, 3, 5, 2, 2))
SETS = {"train": all_compared(GROUPS), "validation": all_compared(GROUPS[:4])}
WIDTH = 32


class Mean(nn.Module):
    """The mean over all tokens."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.mean(1)


@pytest.mark.parametrize(
    ("name", "trained", "kept"),
    [
        ("gpt2", 0, "scored"),
        ("gpt-neo", 0, "scored"),
        ("bert", 0, "first"),
        ("gpt2", 1, "all"),
        ("bert", 1, "all"),
    ],
)
def test_tokens_that_the_rewards_depend_on(name: str, trained: int, kept: str) -> None:
    network = random_network(NETWORKS[name])
    scorer = Scorer(network)
    assert scorer.share_prefixes(GROUPS) == (name in SHARED)
    assert kept_tokens(scorer, Border(network, trained), GROUPS) == kept


def test_a_head_on_all_tokens_needs_all_of_them() -> None:
    network = random_network(PADDED["bert"])
    network.base_model.pooler = Mean()
    assert kept_tokens(Scorer(network), Border(network, 0), GROUPS) == "all"


def hidden_states(name: str, sequence: np.ndarray) -> tuple[Tensor, ...]:
    """transformers' own, of one answer alone, for each layer (tokens, width)."""
    with torch.no_grad():
        output = random_network(NETWORKS[name])(
            torch.from_numpy(sequence.astype(np.int64))[None], output_hidden_states=True
        )
    return tuple(states[0] for states in output.hidden_states)


@pytest.mark.parametrize("name", ["gpt2", "gemma3 with a window", "bert", "gpt-neo"])
def test_stored_states_are_those_of_each_answer_alone(name: str, tmp_path: Path) -> None:
    """A budget of 100 tokens: several forward passes, and groups that exceed it."""
    store = store_of(random_network(NETWORKS[name]), 1, GROUPS, tmp_path / "states", budget=100)
    network = random_network(NETWORKS[name])
    scorer = Scorer(network)
    scorer.share_prefixes(GROUPS)
    stored = store.put_into(scorer, SETS)
    for group, own in zip(stored["train"].groups, GROUPS, strict=True):
        prefix, *answers = group.states
        for states, sequence in zip(answers, own.sequences, strict=True):
            expected = hidden_states(name, sequence)[1]  # 0 is before the first layer
            found = torch.from_numpy(np.concatenate([prefix, states]))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(stored["validation"].groups) == 4


@pytest.mark.parametrize("name", ["gpt2", "bert", "gpt-neo"])
def test_below_the_head_one_token_of_each_answer_is_stored(name: str, tmp_path: Path) -> None:
    network = random_network(NETWORKS[name])
    store = store_of(network, 0, GROUPS, tmp_path / "states")
    answers = [sequence for group in GROUPS for sequence in group.sequences]
    states = torch.from_numpy(np.load(tmp_path / "states/train.npy"))
    assert states.shape == (len(answers), WIDTH)
    place = 0 if name == "bert" else -1
    assert store.states.kept == ("first" if name == "bert" else "scored")
    if name != "bert":  # what transformers calls the last state is behind the last norm
        states = network.get_submodule("transformer.ln_f")(states).detach()
    for found, sequence in zip(states, answers, strict=True):
        expected = hidden_states(name, sequence)[-1][place]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def rewards(scorer: Scorer, compared: Comparisons, budget: int) -> np.ndarray:
    return np.concatenate(scorer.score(compared.groups, budget, None))


@pytest.mark.parametrize("trained", [0, 1])
@pytest.mark.parametrize("name", ["gpt2", "gemma3 with a window", "bert", "gpt-neo"])
@pytest.mark.parametrize("budget", [1000, 60])
def test_rewards_from_states_are_the_networks_own(
    name: str, trained: int, budget: int, tmp_path: Path
) -> None:
    """With a budget of 60 tokens, groups are cut, and find their prefix in a cache."""
    store = store_of(random_network(NETWORKS[name]), trained, GROUPS, tmp_path / "states")
    network = random_network(NETWORKS[name])
    scorer = Scorer(network)
    scorer.share_prefixes(GROUPS)
    own = rewards(scorer, SETS["train"], budget)
    stored = store.put_into(scorer, SETS)
    computed: list[str] = []
    assert scorer.border
    for layer in scorer.border.below:
        for part in layer.children():
            part.register_forward_hook(lambda part, *_: computed.append(type(part).__name__))
    found = rewards(scorer, stored["train"], budget)
    assert not computed
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-5)
    # What has no states, as a test set, goes through all layers.
    np.testing.assert_allclose(rewards(scorer, SETS["train"], budget), own, rtol=1e-5, atol=1e-5)
    assert computed


def test_states_of_another_network_are_not_used_and_one_sentence_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(random_network(SHARED["gpt2"]), 1, GROUPS, tmp_path / "states")
    network = random_network(SHARED["gpt2"])
    with torch.no_grad():
        network.get_parameter("transformer.h.0.mlp.c_fc.weight").mul_(2)
    scorer = Scorer(network)
    scorer.share_prefixes(GROUPS)
    own = rewards(scorer, SETS["train"], 1000)
    with caplog.at_level(logging.WARNING):
        found = store.put_into(scorer, SETS)
    assert found == SETS
    (record,) = caplog.records
    assert record.getMessage().startswith("The stored states are not used: rewards would change by")
    np.testing.assert_array_equal(rewards(scorer, found["train"], 1000), own)


def test_padding_tokens_alone_are_scored_as_without_states(tmp_path: Path) -> None:
    """An answer of padding tokens is scored at a token of the prompt; one of nothing else at its
    first.
    """
    sequences = [[5, 6, 0, 0], [5, 6, 7, 8]], [[0, 0, 0], [0, 0, 9, 0]], [[0, 0], [0, 3]]
    odd = [Group.of([np.array(one) for one in both]) for both in sequences]
    groups = [*GROUPS, *odd]
    for trained in (0, 1):
        folder = tmp_path / str(trained)
        store = store_of(random_network(SHARED["gpt2"]), trained, groups, folder)
        scorer = Scorer(random_network(SHARED["gpt2"]))
        scorer.share_prefixes(groups)
        compared = all_compared(groups)
        own = rewards(scorer, compared, 1000)
        stored = store.put_into(scorer, {"train": compared})
        assert stored["train"].groups[0].states
        found = rewards(scorer, stored["train"], 1000)
        np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trained", [0, 1])
def test_the_bound_is_on_the_bytes_that_are_written(trained: int, tmp_path: Path) -> None:
    store_of(random_network(SHARED["gpt2"]), trained, GROUPS, tmp_path / "states")
    arrays = [np.load(file) for file in (tmp_path / "states").glob("*.npy")]
    size = sum(array.nbytes for array in arrays)
    rows = [
        sum(one.shared_tokens if trained else len(one.sequences) for one in SETS[name].groups)
        for name in SETS
    ]
    assert size == sum(rows) * WIDTH * 4
    again = tmp_path / "again"
    store_of(random_network(SHARED["gpt2"]), trained, GROUPS, again, most_bytes=size)
    less = tmp_path / "less"
    with pytest.raises(InputError, match=r"take 0\.0 GB, more than states\.most_gigabytes=.*"):
        store_of(random_network(SHARED["gpt2"]), trained, GROUPS, less, most_bytes=size - 1)
    assert not list(less.iterdir())


def test_a_disk_without_room_is_noticed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**6, 10**6, 1000))
    folder = tmp_path / "states"
    with pytest.raises(InputError, match=r"as much in DVC's cache, and 0\.0 GB are free: "):
        store_of(random_network(SHARED["gpt2"]), 1, GROUPS, folder)
    assert not list(folder.iterdir())


def test_lack_of_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")

    network = random_network(SHARED["gpt2"])
    network.get_submodule("transformer.h.0.mlp").register_forward_pre_hook(full)
    monkeypatch.setattr(Scorer, "share_prefixes", lambda *_: False)
    with pytest.raises(InputError, match=r"at once do not fit .* states\.micro_batch_tokens"):
        store_of(network, 1, GROUPS, tmp_path / "states")


def test_bfloat16_is_stored_bit_by_bit(tmp_path: Path) -> None:
    network = random_network(SHARED["llama"], torch.bfloat16)
    store = store_of(network, 1, GROUPS, tmp_path / "states")
    assert np.load(tmp_path / "states/train.npy").dtype == np.int16
    scorer = Scorer(random_network(SHARED["llama"], torch.bfloat16))
    scorer.share_prefixes(GROUPS)
    stored = store.put_into(scorer, SETS)["train"].groups[0]
    assert scorer.border
    given: list[Tensor] = []
    scorer.border.last.register_forward_hook(lambda *all_of: given.append(all_of[-1]))
    rewards = scorer.score([stored], 1000, None)
    assert given[0].dtype == torch.bfloat16
    bits = np.concatenate(stored.states)
    assert len(np.unique(bits)) > 100
    np.testing.assert_array_equal(given[0][0].view(torch.int16).numpy(), bits)
    np.testing.assert_allclose(rewards, scorer.score([GROUPS[0]], 1000, None), rtol=0.05, atol=0.02)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_file_is_one_sentence(damage: object, tmp_path: Path) -> None:
    store_of(random_network(SHARED["gpt2"]), 0, GROUPS, tmp_path / "states")
    store = Store.open(tmp_path / "states")
    assert store
    assert callable(damage)
    damage(tmp_path / "states/validation.npy")
    scorer = Scorer(random_network(SHARED["gpt2"]))
    sentence = r"validation\.npy is not the file that the stage states wrote: run dvc repro --force"
    with pytest.raises(InputError, match=sentence):
        store.put_into(scorer, SETS)
