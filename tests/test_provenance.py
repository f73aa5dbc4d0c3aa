"""reward/provenance.py: what was found in the data, facts, and hashes as DVC has them."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from reward.provenance import dvc_hash, facts, loaded_code, quality
from tests.evidence import PROJECT, provenance_of


def test_a_kind_that_the_format_leaves_out_is_left_out_whatever_the_switch() -> None:
    known = provenance_of()
    switches = {"download": {"quality": {"tie": "ignore"}}}
    rows = quality(replace(known, parameters=known.parameters | switches))
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


def test_hash_is_that_of_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub.txt").write_text("by path, '/' is behind '.'")
    (folder / "sub" / "é.bin").write_bytes(b"\r\n\x00")
    (tmp_path / "file.csv").write_text("a,b\r\n")
    for command in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "folder", "file.csv"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    for name in ("folder", "file.csv"):
        (out,) = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"]
        assert dvc_hash(tmp_path / name) == out["md5"]


@pytest.mark.slow
def test_loaded_code_is_what_was_imported() -> None:
    program = (
        "import stages.evaluate; from reward.provenance import loaded_code;"
        "print(*(path.as_posix() for path in loaded_code()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    deps = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["evaluate"]["deps"]
    assert done.stdout.split() == [path for path in deps if re.match(r"reward/.*\.py", path)]
    assert all(path.is_file() for path in loaded_code())
