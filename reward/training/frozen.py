"""The states of a run's pairs below the layers that it trains."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray
from transformers import PreTrainedModel

from reward.harness.errors import InputError
from reward.harness.files import write_json
from reward.scoring.border import Border
from reward.scoring.comparisons import Comparisons
from reward.scoring.scorer import Scorer
from reward.scoring.state_writer import Writer, kept_tokens
from reward.scoring.states import SETTINGS


def write_frozen(
    network: PreTrainedModel,
    trained_layers: int,
    sets: Mapping[str, Comparisons],
    folder: Path,
    *,
    budget: int,
    most_bytes: float,
    depths: int,
) -> tuple[list[int], NDArray[np.float32]]:
    """Fill a folder with the states of sets of pairs, the first of which is the training set.

    Returns depths, in layers, from the first to the last where the head alone is trained (else
    none), and what the head would work on after each of them: (depths, answers, width).

    budget: tokens computed at once. most_bytes: of all files together. depths: how many at most.
    Raises InputError where there is less room.
    """
    training = next(iter(sets.values()))
    scorer = Scorer(network)
    scorer.share_prefixes(training.groups)
    border = Border(network, trained_layers)
    kept = kept_tokens(scorer, border, training.groups)
    count = len(border.layers)
    # A head that works on several tokens of an answer (mean pooling) tells nothing by one of them.
    tried = [] if trained_layers or kept == "all" else _spread(count, depths)
    writer = Writer(scorer, border, kept, folder, budget=budget, depths=tried)
    state = PartialState()
    if state.is_main_process:
        folder.mkdir()
        _check_room(writer.size(sets), most_bytes, folder)
    state.wait_for_everyone()
    features = [writer.write(name, compared) for name, compared in sets.items()]
    if state.is_main_process:
        write_json(folder / SETTINGS, writer.settings().model_dump())
    return tried, features[0]


def _spread(count: int, most: int) -> list[int]:
    """At most so many numbers of layers up to `count`, evenly, the last one among them."""
    steps = min(most, count)
    return [-(-count * (i + 1) // steps) for i in range(steps)]


def _check_room(size: int, most: float, folder: Path) -> None:
    if size > most:
        raise InputError(
            f"the states of these pairs take {size / 1e9:.1f} GB, more than "
            f"states.most_gigabytes={most / 1e9:g}: raise it, or lower max_length."
        )
    # DVC's cache gets a copy where its file system cannot share blocks.
    free = shutil.disk_usage(folder).free
    if 2 * size > free:
        raise InputError(
            f"the states of these pairs take {size / 1e9:.1f} GB, and as much in DVC's cache, and "
            f"{free / 1e9:.1f} GB are free: make room, or lower max_length."
        )
