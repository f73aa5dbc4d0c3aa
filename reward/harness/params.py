"""Typed parameters: the base of every parameter class, read from params.yaml."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reward.harness.errors import InputError
from reward.harness.strict_yaml import read_yaml

FILE = Path("params.yaml")
SHOWN = 200  # characters of a wrong value
MOST_PROBLEMS = 5  # that are named at once
# After a failed `dvc exp run -S` params.yaml still has the wrong value, and `git checkout` may do
# nothing: DVC writes the file twice within a second, so that git takes it for unchanged.
PUT_BACK = "`git show HEAD:params.yaml > params.yaml` puts the committed file back"


class UnknownKeyError(ValueError):
    """A key that a class of parameters does not have."""

    def __init__(self, key: str, known: Iterable[str]) -> None:
        super().__init__(key)
        self.key = key
        self.known = known


class Params(BaseModel):
    """Base of every parameter class: unknown keys are errors and values never change.

    The fields of a stage's own class are exactly the top-level keys of params.yaml that dvc.yaml
    declares for that stage, and `report_to` and `process_timeout` with the stages that read them,
    whose change reruns nothing. A number may be spelled as a text, for `-S` of DVC writes 1e-5 as
    1e-05, which YAML takes for one; true and false are no numbers, nor are nan and inf.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise UnknownKeyError(str(key), cls.model_fields)
        return values

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


class WholeFile(Params):
    """Base of a class whose fields are all the keys of params.yaml, so that others are errors."""


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's generators take
Seconds = Annotated[int, Field(gt=0)]


class TokenBudget(Params):
    """Tokens that one micro-batch computes at most, by device; a single pair always passes."""

    cpu: PositiveInt
    mps: PositiveInt
    cuda: PositiveInt

    def on(self, device: str) -> int:
        """The budget of a type of device, as torch names it."""
        return {"cpu": self.cpu, "mps": self.mps, "cuda": self.cuda}[device]


P = TypeVar("P", bound=Params)


def load_params(kind: type[P], path: Path = FILE) -> P:
    """Read the keys of `kind` from a params.yaml.

    Raises InputError naming key, value and rule where a key is missing, unknown or out of range,
    and naming the line where the file is no YAML of plain values.
    """
    values = read_yaml(path)
    try:
        if not issubclass(kind, WholeFile):
            values = {key: values[key] for key in kind.model_fields if key in values}
        return kind.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        parts = [_problem(problem, path) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            parts.append(f"there are {len(problems) - MOST_PROBLEMS} more")
        raise InputError(f"{'; '.join(parts)}; {PUT_BACK}.") from None


def _problem(problem: Any, path: Path) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return missing_key(key, path)
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UnknownKeyError):
        choices = _choices(cause.key, cause.known)
        key = _short(f"{key}.{cause.key}".removeprefix("."))
        return f"{path} has an unknown key {key} ({choices}): correct its spelling or remove it"
    rule = problem["msg"].removeprefix("Value error, ")
    where = f"{key}={_short(repr(problem['input']))} in {path}" if key else str(path)
    return f"{where} is not valid: {rule}"


def missing_key(key: str, path: Path = FILE) -> str:
    """What there is to say of a key that params.yaml lacks, but for the way back."""
    return f"{path} has no {key}: add it"


def _short(value: str) -> str:
    return value if len(value) <= SHOWN else f"{value[:SHOWN]}..."


def _choices(wrong: str, known: Iterable[str]) -> str:
    """What there is instead of a wrong name, the nearest first."""
    names = sorted(known)
    listed = f"there are: {', '.join(names)}"
    nearest = get_close_matches(wrong[:SHOWN], names, n=1)
    return f"did you mean {nearest[0]}? {listed}" if nearest else listed


def pick(catalogue: dict[str, P], kind: str, name: str) -> P:
    """The entry `name` of a catalogue of params.yaml; `kind` is "dataset" or "backbone"."""
    if name not in catalogue:
        raise InputError(
            f"{kind}={_short(name)} is not an entry of {kind}s in params.yaml "
            f"({_choices(name, catalogue)}): choose one of them or add an entry; {PUT_BACK}."
        )
    return catalogue[name]
