"""reward.harness.lock: an output compared with the dvc.lock of the project it lies in."""

import os
from pathlib import Path

import pytest
import yaml

from reward.harness.files import dvc_hash
from reward.harness.lock import changed_since


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """data/model as it is recorded."""
    folder = tmp_path / "project/data/model"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(1000))
    outs = [{"path": "data/model", "hash": "md5", "md5": dvc_hash(folder)}]
    lock = {"schema": "2.0", "stages": {"train": {"cmd": "x", "outs": outs}, "new": {"cmd": "y"}}}
    (tmp_path / "project/dvc.lock").write_text(yaml.safe_dump(lock))
    return folder


def test_a_flipped_bit_is_told_whatever_the_times_are(model: Path) -> None:
    assert changed_since(model) is None
    weights = model / "model.safetensors"
    before = weights.stat()
    weights.write_bytes(bytes(500) + b"\x01" + bytes(499))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    sentence = changed_since(model)
    assert sentence
    assert sentence.startswith(f"{model} is not what {model.parents[1] / 'dvc.lock'} records")


def test_it_is_told_by_any_path_to_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "more.txt").touch()
    (tmp_path / "link").symlink_to(model)
    monkeypatch.chdir(model.parent)
    assert changed_since(Path("model"))
    assert changed_since(Path("../data/model"))
    assert changed_since(tmp_path / "link")


@pytest.mark.parametrize("lock", ["{", "stages: 3", "[]", "stages: {train: 1}", "\x00", "a: b"])
def test_a_lock_that_cannot_be_read_records_nothing(model: Path, lock: str) -> None:
    (model / "more.txt").touch()
    (model.parents[1] / "dvc.lock").write_text(lock)
    assert changed_since(model) is None


def test_what_no_lock_records_is_not_read(model: Path, tmp_path: Path) -> None:
    assert changed_since(model.parent / "another") is None
    assert changed_since(tmp_path / "nowhere") is None
