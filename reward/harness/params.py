"""Typed parameters: the base of every parameter class, read from params.yaml."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reward.harness.errors import InputError


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
