"""The sections of params.yaml that say what is trained and how, and who is told of it."""

from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from reward.harness.params import Params, Seed, TokenBudget

Weighting = Literal["pairs", "prompts"]


class States(Params):
    """The section `states` of params.yaml, where each value is explained."""

    micro_batch_tokens: TokenBudget
    most_gigabytes: PositiveFloat
    depths: PositiveInt
    folds: Annotated[int, Field(ge=2)]
    head_strength: PositiveFloat
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Train(Params):
    """The section `train` of params.yaml, where each value is explained."""

    epochs: PositiveInt
    batch_pairs: PositiveInt
    micro_batch_tokens: TokenBudget
    learning_rate: PositiveFloat | None
    seed: Seed | None
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)]
    schedule: Literal["linear", "cosine", "constant_with_warmup"]
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    activation_checkpointing: bool
    loss: Literal["bradley-terry", "margin", "scaled", "soft", "plackett-luce"]
    weighting: Weighting
    centring: NonNegativeFloat
    checkpoint_steps: PositiveInt
    evaluate_steps: NonNegativeInt
    patience: NonNegativeInt
    normalise_pairs: PositiveInt

    @model_validator(mode="after")
    def patience_needs_evaluations(self) -> Self:
        if self.patience and not self.evaluate_steps:
            raise ValueError(
                "patience counts evaluations, which evaluate_steps=0 turns off; set either"
            )
        return self


Tracker = Literal["tensorboard", "wandb", "mlflow", "dvclive"]


def _as_list(value: Any) -> Any:
    if value == "none":
        return []
    return [value] if isinstance(value, str) else value


def _all_installed(names: list[Tracker]) -> list[Tracker]:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{' and '.join(missing)} must be installed for that; run "
            f"`pip install {' '.join(missing)}`, or set report_to to none"
        )
    return names


Trackers = Annotated[list[Tracker], BeforeValidator(_as_list), AfterValidator(_all_installed)]
"""`report_to` of params.yaml: none, one tracker or a list of them; all are installed here."""
