"""Settings of every test, and a fixture that several files use."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.workplace import Workplace

# A busy machine must not fail a property, and a property must not fail on one run in a hundred:
# the examples have the same seed in every run and take as long as they take. (Constants in the
# source of loaded modules are among them, so that a change of code can change them.)
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# What is started in the background of a shell ignores interrupts, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)
