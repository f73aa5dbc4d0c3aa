"""Settings of every test, and a fixture that several files use."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.workplace import Workplace

# A busy machine must not fail a property, and a property must not fail on one run in a hundred:
# the examples are the same in every run and take as long as they take.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(autouse=True)
def _broken_pipes_end_no_test_run() -> Iterator[None]:
    """A command that is called in this process lets SIGPIPE end it, as filters do; Python's own way
    comes back after the test, or a client that hangs up on a loopback server would end pytest.
    """
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, signal.SIG_IGN if before is None else before)
