"""A clone after its run, which whole runs and the work of a team start from."""

from pathlib import Path

import pytest

from tests.support.clones import commit, dvc, ran, small_copy
from tests.support.pipeline import PIPELINE


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone after its first `dvc repro`, with the results not committed yet."""
    folder = small_copy(tmp_path_factory.mktemp("finished") / "project")
    assert ran(dvc(folder, "repro")) == list(PIPELINE)
    return folder


@pytest.fixture(scope="session")
def committed(finished: Path) -> Path:
    """The same with the results committed: the state that experiments start from."""
    commit(finished)
    return finished
