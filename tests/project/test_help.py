"""-h of every stage and tool says in a line of plain words what each option is."""

import argparse
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline import PIPELINE, PROJECT

MODULES = [
    *(f"stages.{name}" for name in PIPELINE),
    *(f"reward.{path.stem}" for path in (PROJECT / "reward").glob("*.py") if path.stem[0] != "_"),
    *("benchmarks.data", "benchmarks.scale", "benchmarks.score", "benchmarks.train"),
    "benchmarks.together",
]
FILES = ["setup_check.py", "data/make_sample.py", "data/make_tiny.py"]
# What the code calls things that users have never heard of.
INTERNAL = r"\b(store|closure|budget|ledger|intake|tally|frozen|InputError|reward\.\w+\.\w+)\b"


class Built(BaseException):
    """A command line was about to be read."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def built(monkeypatch: pytest.MonkeyPatch, command: str) -> argparse.ArgumentParser:
    """The parser of a module or a script, which is started and stopped before it reads a word."""

    def stop(parser: argparse.ArgumentParser) -> None:
        raise Built(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [command])
    monkeypatch.chdir(PROJECT)
    monkeypatch.syspath_prepend(PROJECT / Path(command).parent)  # as for a script
    start = runpy.run_path if command in FILES else runpy.run_module
    with pytest.raises(Built) as caught:
        start(command, run_name="__main__")
    return caught.value.parser


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All options and arguments, those of commands within as well."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from options(inner)
        elif not isinstance(action, argparse._HelpAction):
            yield action


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", [*MODULES, *FILES])
def test_every_option_is_explained(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    parser = built(monkeypatch, command)
    assert len((parser.description or "").split()) > 3
    for option in options(parser):
        assert len((option.help or "").split()) > 1, option.dest
        assert not re.search(INTERNAL, option.help or ""), option.dest
        assert (option.help or "")[:180] == option.help, option.dest
    if command.startswith("stages."):
        assert {option.dest for option in options(parser)}
        assert not re.search(INTERNAL, parser.format_help())
    assert parser.format_help()  # a percent sign would be taken for a placeholder
