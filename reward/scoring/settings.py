"""The settings of a reward model, under the key `reward` of its config.json.

How texts were cut when it was trained, because a text cut otherwise gets another reward; and the
mean and deviation of its rewards, which put those of different models on one scale.
"""

import json
from pathlib import Path

from pydantic import Field

from reward.harness.errors import InputError
from reward.harness.params import Params
from reward.tokens.records import TokenSettings

KEY = "reward"


class RewardSettings(Params):
    """The value of `reward` in a model's config.json."""

    max_length: int = Field(ge=2)
    """Tokens of prompt and response together, as in params.yaml."""
    prompt_floor: float = Field(ge=0, lt=1)
    """Of max_length: as much of a prompt truncation leaves at least."""
    mean: float
    """Of the trained model's rewards of a sample of its training responses."""
    std: float = Field(ge=0)
    """Population standard deviation (divided by n) of the same rewards."""

    @property
    def tokens(self) -> TokenSettings:
        """How texts are cut."""
        return TokenSettings(self.max_length, self.prompt_floor)


def check_folder(model: Path) -> None:
    """Raise InputError where a folder is none of a model."""
    if not (model / "config.json").is_file():
        raise InputError(
            f"{model} has no config.json: name the folder of a model, such as the one that train "
            f"wrote."
        )


def write_settings(model: Path, value: RewardSettings) -> None:
    """Add to the config.json of a model folder, in the form in which transformers writes it."""
    file = model / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | {KEY: value.model_dump()}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_settings(model: Path) -> RewardSettings | None:
    """The settings in a model folder; None for a model that was not trained here."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return RewardSettings.model_validate(config[KEY]) if KEY in config else None
