"""Which files of this project a file runs: those that it imports, and those that they import."""

import ast
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def import_closure(start: str, project: Path = PROJECT) -> set[str]:
    """Every file of the project that running `start` can import, itself included.

    All paths are relative to `project`. Imports within functions count as well.
    """
    found, waiting = set[str](), {start}
    while waiting:
        found |= waiting
        names = {name for path in waiting for name in imported_modules(project / path)}
        waiting = {file for name in names for file in project_files(name, project)} - found
    return found


def imported_modules(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports anywhere in it, names from modules included.

    Raises ValueError at a relative import, which would hide what a stage depends on.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}, line {node.lineno}: write imports with their full names")
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_files(dotted: str, project: Path = PROJECT) -> set[str]:
    """The files of the project that importing a dotted name runs, relative to `project`.

    An __init__.py has no code (tests/project/test_rooms.py), so nothing depends on it.
    """
    parts = dotted.split(".")
    files = {f"{'/'.join(parts[:length])}.py" for length in range(1, len(parts) + 1)}
    return {file for file in files if (project / file).is_file()}
