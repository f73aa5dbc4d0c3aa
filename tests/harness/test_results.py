"""reward/harness/results.py: five significant digits in metrics and tables."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.harness.results import rounded, write_metrics, write_plot


def test_numbers_have_five_significant_digits() -> None:
    values = {"a": 0.749379652605459, "b": [123456.7, 1.000004], "c": {"d": 0.00012345678}}
    assert rounded(values) == {"a": 0.74938, "b": [123460.0, 1.0], "c": {"d": 0.00012346}}
    assert rounded({"n": 1234567, "t": "0.123456789", "none": None, "yes": True}) == {
        "n": 1234567,
        "t": "0.123456789",
        "none": None,
        "yes": True,
    }


@given(st.floats(-1e300, 1e300))
def test_rounding_is_close_and_stays(value: float) -> None:
    near = rounded(value)
    assert near == pytest.approx(value, rel=5.1e-5, abs=1e-300)
    assert rounded(near) == near


def test_files(tmp_path: Path) -> None:
    write_metrics(tmp_path / "m.json", {"share": 2 / 3})
    assert json.loads((tmp_path / "m.json").read_text()) == {"share": 0.66667}
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path / "m.json", {"share": math.inf})
    write_plot(tmp_path / "p.csv", ["name", "x"], [{"name": "a, b", "x": 1 / 3}, {"x": None}])
    assert (tmp_path / "p.csv").read_text() == 'name,x\n"a, b",0.33333\n,\n'
