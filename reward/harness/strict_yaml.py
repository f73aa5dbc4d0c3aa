"""A YAML file of plain values, in which nothing is overlooked."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from reward.harness.errors import InputError, first_line

MOST_VALUES = 100_000  # a few hundred are usual; aliases of aliases stand for billions


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises InputError, naming the line where there is one, where the file is missing, no UTF-8 or no
    YAML, has a key twice, a tag, no mapping at its top, or aliases without an end.
    """
    if not path.exists():
        raise InputError(f"There is no {path} here: run this in the folder of the project.")
    content = path.read_bytes()
    try:
        loader = yaml.SafeLoader(content.decode("utf-8"))
        node = loader.get_single_node()
        _check(path, node)
        values = loader.construct_document(node) if node else None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"Line {line} of {path} is not UTF-8: save the file in that encoding."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"Line {mark.line + 1} of {path}" if mark else str(path)
        raise InputError(f"{where} is not valid YAML ({error.problem}): correct it.") from None
    except (yaml.YAMLError, ValueError) as error:  # a control character; a day that does not exist
        raise InputError(f"{path} is not valid YAML ({first_line(error)}): correct it.") from None
    except RecursionError:
        raise InputError(f"{path} is nested deeper than anybody reads: correct it.") from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else f"a {type(values).__name__}"
        raise InputError(
            f"{path} holds {found} in place of keys with values: restore it, for example by "
            f"`git checkout {path}`."
        )
    return values


def _check(path: Path, top: yaml.Node | None) -> None:
    """Raise InputError where a key is there twice, or where aliases multiply."""
    sizes: dict[int, int] = {}  # of what a node stands for, by the node; 0 while it is counted

    def size(node: yaml.Node) -> int:
        if sizes.get(id(node)) == 0:
            raise InputError(f"{_line(path, node)} holds an alias of itself: write it out.")
        if id(node) not in sizes:
            sizes[id(node)] = 0
            sizes[id(node)] = 1 + sum(map(size, _parts(path, node)))
        if sizes[id(node)] > MOST_VALUES:
            raise InputError(
                f"{_line(path, node)} stands for more than {MOST_VALUES:,} values: write less."
            )
        return sizes[id(node)]

    if top:
        size(top)


def _parts(path: Path, node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if not isinstance(node, yaml.MappingNode):
        return ()
    seen = set[tuple[str, str]]()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in seen:
                raise InputError(
                    f"{_line(path, key)} has the key {key.value} a second time: remove one of both."
                )
            seen.add((key.tag, key.value))
    return (part for pair in node.value for part in pair)


def _line(path: Path, node: yaml.Node) -> str:
    return f"Line {node.start_mark.line + 1} of {path}"
