"""A model of which a bit has flipped gives other rewards: whoever scores with it is told."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from reward.harness.files import dvc_hash
from tests.support.models import make_model
from tests.support.pipeline import PROJECT


def score(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reward.score", "data/model"],
        input='{"prompt": "Hi", "response": "Hello"}\n',
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )


def test_flipped_bits_of_the_weights_are_told(tmp_path: Path) -> None:
    model = make_model(tmp_path / "data/model")
    outs = [{"path": "data/model", "md5": dvc_hash(model)}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
    sound = score(tmp_path)
    assert (sound.returncode, sound.stderr) == (0, "score: 1 rows, 1 scored\n")
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    for place in range(len(content) // 2, len(content) - 4, 1000):
        content[place] ^= 1
    weights.write_bytes(content)
    damaged = score(tmp_path)
    assert damaged.returncode == 0
    assert damaged.stdout != sound.stdout
    lines = damaged.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("score: data/model is not what ")
    assert "`python -m reward.verify` says how to restore it" in lines[0]
