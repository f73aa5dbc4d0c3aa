"""reward/training/base_trainer.py: what the environment may say of FSDP."""

import pytest

from reward.harness.errors import InputError
from reward.training.base_trainer import fsdp_settings

NAMES = (
    "FSDP_VERSION",
    "FSDP_CPU_RAM_EFFICIENT_LOADING",
    "FSDP_ACTIVATION_CHECKPOINTING",
    "FSDP_OFFLOAD_PARAMS",
)


@pytest.fixture(autouse=True)
def asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")


def test_settings_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")
    found = fsdp_settings()
    assert found["FSDP_VERSION"] == "2"
    assert found["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"


@pytest.mark.parametrize("value", ["false", "0", ""])
def test_there_are_none_where_fsdp_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    if value:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", value)
    else:
        monkeypatch.delenv("ACCELERATE_USE_FSDP")
    assert fsdp_settings() == {}


def test_the_first_version_is_refused_and_is_what_accelerate_takes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FSDP_VERSION")
    with pytest.raises(InputError, match="FSDP_VERSION is 1, and must be 2"):
        fsdp_settings()


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_does_not_go_with_this_project_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "True")
    with pytest.raises(InputError, match=f"{name} is True, and must be false: "):
        fsdp_settings()
    monkeypatch.setenv(name, "False")
    assert fsdp_settings()[name] == "False"
