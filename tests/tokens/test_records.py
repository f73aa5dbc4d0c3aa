"""reward.tokens.records: the columns of a token file and the settings in its metadata."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reward.tokens.records import TOKENS, Token, TokenSettings


def test_every_column_is_in_the_schema_in_order() -> None:
    assert TOKENS.names == list(Token)


@pytest.mark.parametrize("floor", [0.0, 0.25, 1 / 3])
def test_a_file_has_the_settings_it_was_written_with(tmp_path: Path, floor: float) -> None:
    settings = TokenSettings(256, floor)
    assert settings.schema().equals(TOKENS)
    pq.write_table(settings.schema().empty_table(), tmp_path / "tokens.parquet")
    assert TokenSettings.of(pq.read_schema(tmp_path / "tokens.parquet")) == settings


def test_a_file_of_another_kind_has_no_settings() -> None:
    with pytest.raises(KeyError, match="max_length"):
        TokenSettings.of(TOKENS)
