"""A folder in which the stage download runs, with files and repositories for it to fetch."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.support.loopback_hub import Hub, Repository, serve

ROOT = Path(__file__).parents[2]
DATASET, MODEL = "someone/pairs", "someone/model"


def row(number: int, **changes: Any) -> dict[str, Any]:
    prompt = {"role": "user", "content": f"Question {number}?"}
    return {
        "prompt": prompt["content"],
        "chosen": [prompt, {"role": "assistant", "content": f"Right {number}."}],
        "rejected": [prompt, {"role": "assistant", "content": f"Wrong {number}."}],
        "chosen_rating": 3.2,
        "rejected_rating": 1.0,
        **changes,
    }


ROWS = [row(number) for number in range(6)]
QUALITY = yaml.safe_load((ROOT / "params.yaml").read_text())["download"]["quality"]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(values) + "\n" for values in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["a right answer, a wrong answer"], trainer)
    return tokenizer


CONFIG = json.dumps({"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2}).encode()
TOKENIZER_CONFIG = json.dumps(
    {
        "tokenizer_class": "GPT2Tokenizer",
        "eos_token": "<|endoftext|>",
        "chat_template": "{% for message in messages %}{{ message.content }}{% endfor %}",
    }
).encode()
FAST = {
    "config.json": CONFIG,
    "tokenizer.json": make_tokenizer().to_str().encode(),
    "tokenizer_config.json": TOKENIZER_CONFIG,
}


def slow_files(folder: Path) -> dict[str, bytes]:
    """The same tokenizer as its vocab.json and merges.txt."""
    make_tokenizer().model.save(str(folder))
    return {
        "config.json": CONFIG,
        "tokenizer_config.json": TOKENIZER_CONFIG,
        "vocab.json": (folder / "vocab.json").read_bytes(),
        "merges.txt": (folder / "merges.txt").read_bytes(),
    }


class Workplace:
    """A folder with a params.yaml, and the stage run in it as DVC runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(folder / "cache"),
            "HF_HUB_DISABLE_XET": "1",
            # A busy machine may keep even a hub on it waiting for seconds.
            "HF_HUB_DOWNLOAD_TIMEOUT": "60",
            "HF_HUB_ETAG_TIMEOUT": "60",
            "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens on the discard port
        }
        self.dataset: dict[str, Any] = {"source": "pairs.jsonl"}
        self.backbone: dict[str, Any] = {"source": "./model", "learning_rate": 1e-3}
        self.unreadable_rows = 0
        self.quality = dict(QUALITY)
        (folder / "pairs.jsonl").write_bytes(json_lines(ROWS))
        (folder / "model").mkdir()
        for name, content in FAST.items():
            (folder / "model" / name).write_bytes(content)

    @contextmanager
    def hub(self) -> Iterator[Hub]:
        """A hub with ROWS in two splits, DATASET, and a small model, MODEL; the stage asks it."""
        repositories = {
            f"datasets/{DATASET}": Repository(
                {
                    "data/average_rating-00000-of-00002.parquet": parquet(ROWS[:4]),
                    "data/average_rating-00001-of-00002.parquet": parquet(ROWS[4:]),
                    "data/other-00000-of-00001.parquet": parquet(ROWS[:1]),
                }
            ),
            f"models/{MODEL}": Repository(
                {**FAST, "model.safetensors": b"weights", "pytorch_model.bin": b"a pickle"}
            ),
        }
        with serve(repositories) as running:
            self.environment["HF_ENDPOINT"] = running.url
            yield running

    def be_impatient(self) -> None:
        """Let the client wait for a second: for a hub that would keep it waiting for ever."""
        self.environment |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}

    def run(self, name: str = "mine") -> subprocess.CompletedProcess[str]:
        params = {
            "dataset": name,
            "backbone": "small",
            "datasets": {"mine": self.dataset},
            "backbones": {"small": self.backbone},
            "download": {"unreadable_rows": self.unreadable_rows, "quality": self.quality},
        }
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        command = ["-m", "stages.download", "--raw", "data/raw", "--backbone", "data/backbone"]
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def succeed(self) -> str:
        """Run and return what was printed on stderr."""
        done = self.run()
        assert done.returncode == 0, done.stderr
        return done.stderr

    def fail(self, name: str = "mine") -> str:
        """Run and return the one sentence in which it ended; nothing is left behind."""
        done = self.run(name)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        data = self.folder / "data"
        assert not data.exists() or not list(data.iterdir())
        sentence = done.stderr.splitlines()[-1]
        assert sentence.startswith("download: ")
        assert sentence.endswith(".")
        return sentence

    def source(self, output: str) -> dict[str, Any]:
        return json.loads((self.folder / "data" / output / "source.json").read_text())

    def pairs(self) -> pa.Table:
        return pq.read_table(self.folder / "data/raw/pairs.parquet")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
