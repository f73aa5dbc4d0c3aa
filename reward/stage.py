"""What every stage shares: typed parameters, a command line, one-sentence errors, whole outputs."""

import argparse
import inspect
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class InputError(Exception):
    """Something the user can mend, told in one sentence: the value, the rule, the cure."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """A text that may come from a dataset, for a terminal: what could steer it is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def first_line(error: Exception) -> str:
    """What a library's error says first, to stand in a sentence."""
    return str(error).strip().split("\n")[0].rstrip(".")


class Params(BaseModel):
    """Base of every parameter class: unknown keys are errors and values never change.

    The fields of a stage's own class are exactly the top-level keys of params.yaml
    that dvc.yaml declares for that stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's generators take


P = TypeVar("P", bound=Params)


def load_params(kind: type[P], path: Path = Path("params.yaml")) -> P:
    """Read the keys of `kind` from a params.yaml.

    Raises InputError naming key, value and rule where a key is missing, unknown or out of range.
    """
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return kind.model_validate({key: values[key] for key in kind.model_fields if key in values})
    except ValidationError as error:
        raise InputError(" ".join(_sentence(problem, path) for problem in error.errors())) from None


def _sentence(problem: Any, path: Path) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{path} has no {key}: add it."
    if problem["type"] == "extra_forbidden":
        return f"{path} has an unknown key {key}: remove it or correct its spelling."
    rule = problem["msg"].removeprefix("Value error, ")
    where = f"{key}={problem['input']!r} in {path}" if key else str(path)
    return f"{where} is not valid: {rule}."


def pick(catalogue: dict[str, P], kind: str, name: str) -> P:
    """The entry `name` of a catalogue of params.yaml; `kind` is "dataset" or "backbone"."""
    if name not in catalogue:
        known = ", ".join(sorted(catalogue))
        raise InputError(
            f"{kind}={name} is not an entry of {kind}s in params.yaml (there are: {known}): "
            f"choose one of them or add an entry."
        )
    return catalogue[name]


def run(stage: Callable[..., None], kind: type[Params]) -> NoReturn:
    """Run a stage from the command line: `stage(params, **paths)`.

    Every parameter of the stage after the first is a path and becomes an option of the same name,
    so dvc.yaml is the only place that knows paths. An InputError ends the process with its
    sentence on stderr and exit status 1.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{stage.__name__}", description=stage.__doc__
    )
    for name in list(inspect.signature(stage).parameters)[1:]:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True)
    arguments = vars(parser.parse_args())
    try:
        stage(load_params(kind), **arguments)
    except InputError as error:
        print(f"{stage.__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write an output so that it is there whole or not at all.

    Yields a sibling path to write a file or a folder to; it takes the place of `path` only when
    the block ends without an exception, and is removed otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        yield partial
        remove(path)
        partial.replace(path)
    finally:
        remove(partial)


def remove(path: Path) -> None:
    """Delete a file or a folder with all it holds; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write metrics or records as JSON; a NaN or an infinity raises ValueError."""
    with whole(path) as partial:
        partial.write_text(
            json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
