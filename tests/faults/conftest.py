"""What the tests of faults share."""

from pathlib import Path

import pytest

from tests.support.clones import commit, dvc, ran, small_copy
from tests.support.pipeline import PIPELINE


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone after its first `dvc repro`, committed; tests read it and change nothing."""
    folder = small_copy(tmp_path_factory.mktemp("usual") / "project")
    assert ran(dvc(folder, "repro")) == list(PIPELINE)
    commit(folder)
    return folder
