"""The machine that computes: what the last digits of a model depend on beside its inputs.

Sums of floating-point numbers depend on their order, which differs with the number of threads and
processes, with the kernels that a library has for a kind of processor, and with its version. On the
same machine the same inputs give the same bytes; on another they may differ in the last digits.
"""

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reward.scoring.devices import best_device, device_name

RECORD = "machine.json"  # in the model's folder
LIBRARIES = ("torch", "transformers", "accelerate", "peft", "trl", "numpy", "tokenizers")


def this_machine() -> dict[str, Any]:
    """What this process computes on and with; every value is text or a whole number."""
    return {
        "device": device_name(best_device()),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def differences(record: Mapping[str, Any]) -> list[str]:
    """Where this process differs from such a record, each as "threads 8, here 2"."""
    here = this_machine()
    return [
        f"{name} {record.get(name)}, here {value}"
        for name, value in here.items()
        if record.get(name) != value
    ]


def _processor() -> str:
    """The CPU's name; where Linux tells none, as on ARM, the architecture."""
    cpus = Path("/proc/cpuinfo")
    text = cpus.read_text(encoding="utf-8") if cpus.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
