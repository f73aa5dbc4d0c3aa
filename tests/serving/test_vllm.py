"""What vLLM reads of a model, and the rewards that it gives where VLLM names its command."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from safetensors import safe_open

from reward.scoring.groups import Group
from reward.serving.model import RewardModel
from reward.serving.questions import read_question
from reward.training.network import build_network
from tests.support.models import make_model
from tests.support.networks import SHARED, random_network
from tests.support.servers import SECONDS

VLLM = os.environ.get("VLLM", "")
STARTS_IN = 300  # seconds


def test_the_folder_has_what_vllm_gives_the_raw_score_by(tmp_path: Path) -> None:
    """As in vLLM 0.33: the class, one label, a head of this name; and get_act_fn of
    model_executor/layers/pooler/activations.py leaves the scores of a regression as they are.
    """
    network = random_network(SHARED["gpt2"])
    network.config.problem_type = None
    network.save_pretrained(tmp_path / "backbone")
    source = {"weights": ["model.safetensors"], "commit": None}
    (tmp_path / "backbone/source.json").write_text(json.dumps(source), encoding="utf-8")
    build_network(tmp_path / "backbone", 1, torch.float32, "all").save_pretrained(tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["GPT2ForSequenceClassification"]
    assert config["problem_type"] == "regression"
    assert len(config["id2label"]) == 1
    with safe_open(tmp_path / "m/model.safetensors", "pt") as weights:
        assert weights.get_slice("score.weight").get_shape() == [1, config["n_embd"]]


@contextmanager
def vllm(folder: Path) -> Iterator[str]:
    """Where vLLM classifies with a model's folder."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--served-model-name", "m", "--runner", "pooling", "--dtype", "float32"]
    command = [VLLM, "serve", str(folder), "--port", str(port), *options]
    with subprocess.Popen(command) as process:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + STARTS_IN
            while True:
                assert process.poll() is None
                assert time.monotonic() < deadline
                try:
                    if httpx2.get(f"{url}/health").status_code == 200:
                        break
                except httpx2.TransportError:
                    time.sleep(1)
            yield url
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.skipif(not VLLM, reason="VLLM=/path/to/vllm is not set")
def test_vllm_gives_the_rewards_of_this_project(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    model = RewardModel.open(folder)
    rows = [{"prompt": f"Name the number {n}.", "response": f"It is {n}. " * n} for n in range(40)]
    read = model.groups([read_question(row) for row in rows])
    groups = [one for one in read if isinstance(one, Group)]
    ids = [group.sequences[0].tolist() for group in groups]
    chats = [
        [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["response"]},
        ]
        for row in rows[1:4]  # which fit into max_length
    ]
    ours = [reward.item() for reward in model.score(groups, None)]

    def classify(url: str, **body: Any) -> list[float]:
        answer = httpx2.post(f"{url}/classify", json={"model": "m"} | body, timeout=SECONDS)
        return [one["probs"][0] for one in answer.raise_for_status().json()["data"]]

    with vllm(folder) as url:
        assert classify(url, input=ids) == pytest.approx(ours, abs=1e-5)
        found = [classify(url, messages=chat)[0] for chat in chats]
    assert found == pytest.approx(ours[1:4], abs=1e-5)
