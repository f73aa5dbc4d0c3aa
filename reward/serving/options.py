"""How a model is served: with the settings that it was trained with, unless others are asked for.

Nothing here imports torch, so that a wrong option is named at once.
"""

from pathlib import Path

from reward.harness.errors import InputError
from reward.harness.files import read_foreign_json
from reward.scoring.settings import RewardSettings, check_folder, read_settings
from reward.tokens.limits import check_length


def choose_settings(
    folder: Path,
    *,
    max_length: int | None = None,
    prompt_floor: float | None = None,
    normalise: bool = False,
) -> RewardSettings:
    """The settings to serve a model's folder with.

    max_length, prompt_floor: in place of the model's own; a model that was not trained here has
    neither, and a mean and deviation of 0. normalise: whether rewards are to be normalised.

    Raises InputError where the folder is none of a model, where a value is missing or out of range,
    and where there is nothing to normalise by.
    """
    check_folder(folder)
    config = folder / "config.json"
    read_foreign_json(config, str(config), "train or fetch the model again")  # damaged: a sentence
    own = read_settings(folder)
    given = {"max_length": max_length, "prompt_floor": prompt_floor}
    values = own.model_dump() if own else {"mean": 0.0, "std": 0.0}
    values |= {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in values:
            raise InputError(
                f"{folder} does not say which {name} it was trained with: "
                f"give --{name.replace('_', '-')}."
            )
    if not (values["max_length"] >= 2 and 0 <= values["prompt_floor"] < 1):
        raise InputError(
            f"max_length={values['max_length']} and prompt_floor={values['prompt_floor']} do "
            f"not fit: give at least 2 and a share from 0 to below 1."
        )
    settings = RewardSettings(**values)
    check_length(settings.max_length, folder)
    if normalise:
        check_normalisable(settings)
    return settings


def check_normalisable(settings: RewardSettings) -> None:
    """Raise InputError where a model has no mean and deviation to normalise by."""
    if not settings.std:
        raise InputError(
            "the model has no mean and deviation to normalise by: train it with this project, or "
            "leave out --normalise."
        )
