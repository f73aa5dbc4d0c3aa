"""The rooms of reward/: what each may import, and what none of them may do."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from reward.harness.closure import imported_modules, project_files
from tests.support.pipeline import PROJECT

# A room imports its own modules and these: rooms, or single modules of rooms.
MAY_IMPORT = {
    "harness": set[str](),
    "sources": {"harness"},
    "pairs": {"harness", "sources"},
    "tokens": {"harness", "pairs/preference"},
    "scoring": {"harness", "tokens"},
    "training": {"harness", "sources", "tokens", "scoring"},
    "evaluation": {"harness", "tokens"},
    "report": {"harness", "evaluation", "scoring/settings"},
    "serving": {"harness", "pairs", "tokens", "scoring"},
}
COMMANDS = {"score", "serve", "compare", "examine", "publish", "verify"}
TORCH_FREE = ("pairs", "tokens", "evaluation", "report", "scoring/settings")
REWARD = PROJECT / "reward"
FILES = sorted(REWARD.rglob("*.py"))


def name_of(path: Path) -> str:
    """A file below reward/ without its ending: room/module, or a command."""
    return path.relative_to(REWARD).with_suffix("").as_posix()


def imports(path: Path) -> set[str]:
    """The files below reward/ that a file imports, named as by `name_of`."""
    files = set().union(*map(project_files, imported_modules(path)))
    return {file.removeprefix("reward/").removesuffix(".py") for file in files if "reward/" in file}


def test_rooms_and_commands_are_those_of_the_rule() -> None:
    rooms = {path.name for path in REWARD.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert rooms == set(MAY_IMPORT)
    assert {path.stem for path in REWARD.glob("*.py")} == COMMANDS | {"__init__"}
    assert not COMMANDS & sys.stdlib_module_names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_what_it_may(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in (REWARD / room).rglob("*.py"):
        for name in imports(path):
            assert name in allowed or name.split("/")[0] in allowed, f"{path} imports {name}"


def test_nothing_in_reward_imports_a_stage() -> None:
    for path in FILES:
        assert not [name for name in imported_modules(path) if name.split(".")[0] == "stages"], path


def test_there_is_no_circle() -> None:
    modules = {name_of(path): imports(path) for path in FILES}
    order = [*TopologicalSorter(modules).static_order()]  # raises CycleError where there is one
    assert order.index("harness/errors") < order.index("pairs/intake") < order.index("examine")


def test_every_room_says_in_a_paragraph_what_it_is() -> None:
    """And does nothing else, so that no stage depends on it and nothing is imported unseen."""
    for path in (REWARD / "__init__.py", *(REWARD / room / "__init__.py" for room in MAY_IMPORT)):
        body = ast.parse(path.read_text(encoding="utf-8"))
        docstring = ast.get_docstring(body)
        assert docstring, path
        assert len(body.body) == 1, path
        assert len(docstring.split()) >= 15, path
        assert "\n\n" not in docstring, path


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch is blocked")

sys.meta_path.insert(0, Blocked())
"""


def without_torch(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + program]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", TORCH_FREE)
def test_needs_no_torch(room: str) -> None:
    """Every module is imported where torch cannot be."""
    paths = [REWARD / f"{room}.py"] if "/" in room else sorted((REWARD / room).glob("*.py"))
    names = [f"reward.{name_of(path).replace('/', '.')}" for path in paths]
    names = [name.removesuffix(".__init__") for name in names]
    program = f"import {', '.join(names)}; print(sum(name in sys.modules for name in {names}))"
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(names) > 0


@pytest.mark.parametrize(
    "module",
    [
        *("reward.compare", "reward.examine", "reward.publish", "reward.score", "reward.serve"),
        "stages.report",
    ],
)
def test_starts_without_what_takes_seconds(module: str) -> None:
    program = (
        f"import sys, {module}; print({{'torch', 'transformers', 'sklearn'}} & {{*sys.modules}})"
    )
    assert without_torch(program).stdout.strip() == "set()"


def test_torch_can_be_blocked() -> None:
    """Or the test before could not fail."""
    program = "import reward.scoring.devices"
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "torch is blocked" in done.stderr.splitlines()[-1]
    assert done.returncode == 1


def test_columns_and_settings_of_records_are_named_in_their_home_alone() -> None:
    """The names that only token and score records have; a string elsewhere would go unseen by a
    change of the schema.
    """
    own = "chosen_ids|rejected_ids|prefix_length|shared_tokens|chosen_score|bag_of_words_margin"
    homes = {"tokens/records", "evaluation/scores"}
    # What reward.score calls its output columns, and what the page's template shows.
    allowed = {"serving/questions", "score", "report/excerpts"}
    for path in [*FILES, *(PROJECT / "stages").glob("*.py")]:
        name = path.stem if path.parent.name == "stages" else name_of(path)
        if name in homes | allowed:
            continue
        strings = [
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ]
        assert not [text for text in strings if isinstance(text, bytes) and b"max_length" in text]
        found = [text for text in strings if isinstance(text, str) and re.fullmatch(own, text)]
        assert not found, f"{path} names {found}"
