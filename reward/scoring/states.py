"""Hidden states at a border, computed once for each answer and stored.

A folder holds settings.json and, for each set of pairs, SET.npy with the states of its groups, one
group after another, (rows, width), in the number format that they were computed in (bfloat16, which
NumPy does not have, as int16 of the same bits).
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from reward.harness.errors import InputError
from reward.harness.files import read_json, sha256
from reward.harness.params import Params
from reward.scoring.border import Border
from reward.scoring.comparisons import Comparisons
from reward.scoring.groups import Group
from reward.scoring.layout import scored_position
from reward.scoring.scorer import Scorer

Kept = Literal["all", "first", "scored"]
SETTINGS = "settings.json"


class States(Params):
    """settings.json: how a folder's states were computed."""

    trained_layers: int
    """How many layers are above the border."""
    shared: bool
    """Whether a group's prefix was computed once for all its answers."""
    kept: Kept
    """The tokens of an answer that have states: all, or the one that the head works on."""
    weights: str
    """The number format of the network's weights."""
    sets: dict[str, str]
    """The SHA-256 of each set's file."""


def kept_places(group: Group, kept: Kept, pad_token_id: int | None) -> list[int]:
    """Where the one token that is kept stands in each sequence."""
    if kept == "first":
        return [0] * len(group.sequences)
    return [scored_position(one, pad_token_id) for one in group.sequences]


def as_stored(group: Group, shared: bool, kept: Kept, pad_token_id: int | None) -> Group:
    """A group of the tokens whose states are stored: all, or one of each answer."""
    if kept == "all":
        return group if shared else Group(group.sequences, 0)
    places = kept_places(group, kept, pad_token_id)
    return Group(tuple(one[i : i + 1] for one, i in zip(group.sequences, places, strict=True)), 0)


class Store:
    """A folder of states that the stage states wrote; each of its files is checked once."""

    def __init__(self, folder: Path, states: States):
        self.folder, self.states = folder, states
        self._checked: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, folder: Path) -> "Store | None":
        """None where nothing was computed, as all layers are trained."""
        settings = read_json(folder / SETTINGS)
        return cls(folder, States.model_validate(settings)) if settings else None

    def put_into(
        self, scorer: Scorer, sets: Mapping[str, Comparisons]
    ) -> Mapping[str, Comparisons]:
        """Sets of pairs with their states, which are read when they are used, and a scorer that
        takes them; where its rewards would change by that, the sets as they are.

        Raises InputError where a file is not the one that was written.
        """
        border = Border(scorer.network, self.states.trained_layers)
        stored = {name: self._read(name, sets[name], scorer.pad_token_id) for name in sets}
        first = next(iter(sets))
        taken = scorer.take_states(border, sets[first].groups, stored[first].groups)
        return stored if taken else sets

    def _read(self, name: str, compared: Comparisons, pad_token_id: int | None) -> Comparisons:
        states, how = self._file(name), self.states
        start, groups = 0, []
        for one in compared.groups:
            group = as_stored(one, how.shared, how.kept, pad_token_id)
            own = [len(sequence) - group.prefix for sequence in group.sequences]
            cuts = np.cumsum([start, group.prefix, *own]).tolist()
            start = cuts[-1]
            groups.append(replace(group, states=tuple(states[a:b] for a, b in pairwise(cuts))))
        return replace(compared, groups=groups)

    def _file(self, name: str) -> np.ndarray:
        if name not in self._checked:
            path = self.folder / f"{name}.npy"
            if not path.is_file() or sha256(path) != self.states.sets[name]:
                raise InputError(
                    f"{path} is not the file that the stage states wrote: run dvc repro --force "
                    f"states."
                )
            self._checked[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._checked[name]
