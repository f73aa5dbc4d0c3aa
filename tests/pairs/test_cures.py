"""reward.pairs.cures: for each reason that there is, what to do about it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reward.pairs.cures import CURES, FILL, cure_of
from reward.pairs.quality import KINDS

ROOM = Path(__file__).parents[2] / "reward/pairs"


def texts(node: ast.AST) -> Iterator[str]:
    """The texts of an expression, where it is a text or a choice between some."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from (*texts(node.body), *texts(node.orelse))


def reasons(path: Path) -> Iterator[str]:
    """What `UnusableError` is raised with, and what is called a reason or a kind beforehand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id="UnusableError"), args=[first, *_]):
                yield from texts(first)
            case ast.Assign(targets=[ast.Name(id="reason" | "kind")], value=value):
                yield from texts(value)


RAISED = {name: path.name for path in ROOM.glob("*.py") for name in reasons(path)}


def test_reasons_are_found() -> None:
    assert {"wrong_type", "tie", "single_response", "missing_rating"} <= RAISED.keys()


@pytest.mark.parametrize("reason", sorted({*RAISED, *KINDS, "contradiction", "duplicate"}))
def test_each_reason_has_a_cure(reason: str) -> None:
    assert reason in CURES, f"{RAISED.get(reason)} raises it"


@pytest.mark.parametrize("reason", ["unreadable", "broken_text", "beyond_weight", "near_duplicate"])
def test_so_has_what_is_counted_elsewhere(reason: str) -> None:
    assert reason in CURES


def test_cures_are_parts_of_a_sentence() -> None:
    for cure in (*CURES.values(), cure_of("never_heard_of")):
        assert cure == cure.strip()
        assert not cure.endswith(".")
        assert "\n" not in cure
    assert cure_of("missing_history") == FILL
