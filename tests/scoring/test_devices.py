"""reward/scoring/devices.py: order of preference and formats, on machines that are not here."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reward.scoring.devices import Precision, best_device, device_name, memory, precision


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (True, True, "cuda"),
        (True, False, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ],
)
def test_cuda_before_mps_before_cpu(
    cuda: bool, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(expected)


@pytest.mark.parametrize(
    ("kind", "native_bfloat16", "expected"),
    [
        ("cuda", True, Precision(torch.float32, torch.bfloat16, torch.bfloat16)),
        ("cuda", False, Precision(torch.float32, torch.float32, torch.float16)),
        ("mps", False, Precision(torch.float32, torch.float16, None)),
        ("cpu", False, Precision(torch.float32, torch.float32, None)),
    ],
)
def test_formats_follow_from_the_device(
    kind: str, native_bfloat16: bool, expected: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An old GPU can emulate bfloat16; only the question that leaves emulation out is answered.
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or native_bfloat16,
    )
    assert precision(torch.device(kind)) == expected


def test_an_adam_step_survives_in_the_trained_format() -> None:
    """A step of 1e-4 on a weight of 0.1: lost in bfloat16 (spacing 2^-11), kept as trained."""
    step, weight = 1e-4, 0.1
    assert torch.tensor(weight, dtype=torch.bfloat16) + step == torch.tensor(
        weight, dtype=torch.bfloat16
    )
    trained = precision(torch.device("cpu")).trained
    assert torch.tensor(weight, dtype=trained) + step != torch.tensor(weight, dtype=trained)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux has /proc/meminfo")
def test_memory_of_the_cpu_is_the_machines() -> None:
    total = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    assert total is not None
    assert memory(torch.device("cpu")) == int(total[1]) * 1024


def test_a_cpu_is_named_with_its_cores() -> None:
    assert re.fullmatch(r"CPU, \d+ cores", device_name(torch.device("cpu")))


def test_glibc_agrees_to_keep_freed_memory() -> None:
    program = "from reward.scoring.devices import keep_freed_memory; print(keep_freed_memory())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip().decode() == str(platform.libc_ver()[0] == "glibc")
