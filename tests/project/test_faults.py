"""Faults in tests/faults/README.md and promises in SECURITY.md have tests, which are there."""

import ast
import re

import pytest

from tests.support.pipeline import PROJECT

TABLE = PROJECT / "tests/faults/README.md"
CELL = r" ((?:[^|\\]|\\.)+) \|"
ROW = re.compile(rf"\|{CELL}{CELL}{CELL}{CELL}")  # fault, how it is made, what must hold, test
TEST = re.compile(r"(?P<path>[\w/]+\.py)::(?P<name>\w+)")


def rows() -> list[tuple[str, str]]:
    """The fault and the tests of each row below the table's head; no line may be no such row."""
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert lines[1] == "|---|---|---|---|"
    found = [(line, ROW.fullmatch(line)) for line in lines[2:]]
    assert not [line for line, row in found if row is None]
    return [(row[1], row[4]) for _, row in found if row]


def test_every_row_names_a_test() -> None:
    assert not [fault for fault, tests in rows() if not TEST.search(tests)]


@pytest.mark.parametrize("page", ["tests/faults/README.md", "SECURITY.md"])
def test_every_test_that_is_named_is_there(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    tests = list(TEST.finditer(text))
    assert len(tests) == text.count("::") > 10
    for test in tests:
        module = PROJECT / test["path"]
        assert module.is_file(), test[0]
        body = ast.parse(module.read_text(encoding="utf-8")).body
        functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        assert test["name"].startswith("test_"), test[0]
        assert test["name"] in functions, test[0]


def test_there_are_many_and_none_twice() -> None:
    faults = [fault for fault, _ in rows()]
    assert len(faults) >= 60
    assert len(set(faults)) == len(faults)
