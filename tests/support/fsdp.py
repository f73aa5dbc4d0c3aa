"""Runs a module as tests/support/counted.py does, with FSDP on CPUs, and asserts that it sharded.

Accelerate's list of what FSDP may wrap has no CPUs, while torch's FSDP2 works on them by gloo: here
several CPUs call themselves several GPUs until accelerate has chosen FSDP.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, DistributedType, PartialState
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from tests.support import counted

SETTINGS = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}
sharded: list[int] = []  # of each model that was prepared: how many units it was cut into


def main() -> None:
    start, prepare = AcceleratorState.__init__, Accelerator.prepare

    def start_with_cpus(state: AcceleratorState, *options: Any, **more: Any) -> None:
        shared = PartialState._shared_state
        if shared["distributed_type"] == DistributedType.MULTI_CPU:
            shared["distributed_type"] = DistributedType.MULTI_GPU
        start(state, *options, **more)
        assert shared["distributed_type"] == DistributedType.FSDP

    def prepare_and_look(accelerator: Accelerator, *parts: Any, **options: Any) -> Any:
        prepared = prepare(accelerator, *parts, **options)
        for part in parts:
            if isinstance(part, torch.nn.Module):
                assert accelerator.distributed_type == DistributedType.FSDP
                assert isinstance(part, FSDPModule)
                shards = [weight for weight in part.parameters() if isinstance(weight, DTensor)]
                assert len(shards) == len(list(part.parameters()))
                local = sum(weight.to_local().numel() for weight in shards)
                whole = sum(weight.numel() for weight in shards)
                assert local < 0.6 * whole
                sharded.append(sum(isinstance(module, FSDPModule) for module in part.modules()))
        return prepared

    AcceleratorState.__init__ = start_with_cpus
    Accelerator.prepare = prepare_and_look
    counted.main()
    (units,) = sharded
    assert units >= 4, units  # two layers, the embeddings, the whole


if __name__ == "__main__":
    main()
