"""reward/report/provenance.py: what was found in the data, facts, and hashes as DVC has them."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml

from reward.report.provenance import facts, loaded_code, quality_table
from tests.support.evidence import PROJECT, provenance_of


def test_a_kind_that_the_format_leaves_out_is_left_out_whatever_the_switch() -> None:
    known = provenance_of()
    switches = {"download": {"quality": {"tie": "ignore"}}}
    rows = quality_table(replace(known, parameters=known.parameters | switches))
    assert tuple(rows[0].values()) == ("tie", 16, 0.2, "left out")


def test_facts_are_leaves_with_dotted_names() -> None:
    values = {"a": {"b": 1, "c": {"d": [1, None]}}, "e": None, "f": "text\u202e"}
    assert facts(values) == [
        ("a.b", "1"),
        ("a.c.d", "[1, null]"),
        ("e", "null"),
        ("f", "text⟨U+202E⟩"),
    ]
    assert facts({str(number): 0 for number in range(102)})[-1] == ("…", "2 more")


@pytest.mark.slow
def test_loaded_code_is_what_was_imported() -> None:
    program = (
        "import stages.report; from reward.report.provenance import loaded_code;"
        "print(*(path.as_posix() for path in loaded_code()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    deps = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["report"]["deps"]
    loaded = [path for path in done.stdout.split() if not path.endswith("__init__.py")]
    assert loaded == [path for path in deps if re.match(r"reward/.*\.py", path)]
    assert all(path.is_file() for path in loaded_code())
