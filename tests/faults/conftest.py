"""What the tests of faults share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clones import commit, dvc, ran, small_copy
from tests.support.loopback_hub import Hub
from tests.support.pipeline import PIPELINE
from tests.support.workplace import DATASET, MODEL, Workplace


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone after its first `dvc repro`, committed; tests read it and change nothing."""
    folder = small_copy(tmp_path_factory.mktemp("usual") / "project")
    assert ran(dvc(folder, "repro")) == list(PIPELINE)
    commit(folder)
    return folder


@pytest.fixture
def hub(place: Workplace) -> Iterator[Hub]:
    """A hub that has the dataset and the backbone that `place` downloads."""
    place.dataset = {"source": DATASET, "split": "average_rating"}
    place.backbone |= {"source": MODEL}
    with place.hub() as running:
        yield running
