"""Typed parameters: the base of every parameter class, read from params.yaml."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from reward.harness.errors import InputError
from reward.harness.strict_yaml import read_yaml

SHOWN = 200  # characters of a wrong value
MOST_PROBLEMS = 5  # that are named at once


class Params(BaseModel):
    """Base of every parameter class: unknown keys are errors and values never change.

    The fields of a stage's own class are exactly the top-level keys of params.yaml that dvc.yaml
    declares for that stage, and with train `report_to`, whose change reruns nothing. A number may
    be spelled as a text, for `-S` of DVC writes 1e-5 as 1e-05, which YAML takes for one; true and
    false are no numbers, nor are nan and inf.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        takes = {*_types(cls.model_fields[str(info.field_name)].annotation)}
        # A class of parameters within looks at its own fields.
        within = any(isinstance(one, type) and issubclass(one, BaseModel) for one in takes)
        if not (within or {bool, Any} & takes) and any(isinstance(x, bool) for x in _leaves(value)):
            raise ValueError(
                "true, false, yes, no, on and off are no numbers and no texts; "
                "give one, in quotes if it is a text"
            )
        return value


def _types(annotation: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _leaves(value: Any) -> Iterator[Any]:
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for part in parts:
            yield from _leaves(part)
    else:
        yield value


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's generators take


P = TypeVar("P", bound=Params)


def load_params(kind: type[P], path: Path = Path("params.yaml")) -> P:
    """Read the keys of `kind` from a params.yaml.

    Raises InputError naming key, value and rule where a key is missing, unknown or out of range,
    and naming the line where the file is no YAML of plain values.
    """
    values = read_yaml(path)
    try:
        return kind.model_validate({key: values[key] for key in kind.model_fields if key in values})
    except ValidationError as error:
        problems = error.errors()
        sentences = [_sentence(problem, path) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            sentences.append(f"There are {len(problems) - MOST_PROBLEMS} more.")
        raise InputError(" ".join(sentences)) from None


def _sentence(problem: Any, path: Path) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{path} has no {key}: add it."
    if problem["type"] == "extra_forbidden":
        return f"{path} has an unknown key {key}: remove it or correct its spelling."
    rule = problem["msg"].removeprefix("Value error, ")
    value = repr(problem["input"])
    shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}..."
    where = f"{key}={shown} in {path}" if key else str(path)
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
