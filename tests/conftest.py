"""Settings of every test, and a fixture that several files use."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.workplace import Workplace

# A busy machine must not fail a property, and a property must not fail on one run in a hundred:
# the examples are the same in every run and take as long as they take.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# What is started in the background of a shell ignores interrupts, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)
