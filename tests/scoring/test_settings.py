"""reward/scoring/settings.py: what config.json holds of a reward model besides transformers'."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from reward.harness.errors import InputError
from reward.scoring.settings import RewardSettings, check_folder, read_settings, write_settings
from reward.tokens.records import TokenSettings

SETTINGS = RewardSettings(max_length=48, prompt_floor=0.25, mean=0.5, std=2.0)


def test_settings_are_read_as_written_and_nothing_else_changes(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert read_settings(tmp_path) is None
    write_settings(tmp_path, SETTINGS)
    assert read_settings(tmp_path) == SETTINGS
    assert SETTINGS.tokens == TokenSettings(max_length=48, prompt_floor=0.25)
    assert json.loads(config.read_text(encoding="utf-8")) == {
        "model_type": "gpt2",
        "reward": {"max_length": 48, "prompt_floor": 0.25, "mean": 0.5, "std": 2.0},
    }


@pytest.mark.parametrize("change", [{"max_length": 1}, {"prompt_floor": 1.0}, {"std": -1.0}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RewardSettings.model_validate(SETTINGS.model_dump() | change)


def test_a_folder_without_a_config_is_none_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json: name the folder of a model"):
        check_folder(tmp_path)
