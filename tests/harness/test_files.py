"""reward/harness/files.py: outputs are there whole or not at all, and hashes are those of DVC."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reward.harness.files import dvc_hash, read_json, replacing, write_json


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


def test_a_missing_path_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dvc_hash(tmp_path / "nothing")


def test_what_ends_with_an_error_leaves_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "new/record.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    with pytest.raises(FileNotFoundError), replacing(path) as partial:
        (partial / "none" / "file").touch()
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with replacing(tmp_path / "out") as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["new"]
