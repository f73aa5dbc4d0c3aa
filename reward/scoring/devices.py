"""Where tensors live and in which number format: CUDA, else Apple's MPS, else the CPU."""

import ctypes
import os
import platform
from typing import NamedTuple

import torch


class Precision(NamedTuple):
    """The number formats of one device. Losses and optimiser states are float32 everywhere."""

    trained: torch.dtype
    """Of weights that the optimiser changes: those of a whole model, of adapters, of the head."""
    frozen: torch.dtype
    """Of a base model under LoRA adapters, which the optimiser leaves alone."""
    autocast: torch.dtype | None
    """Of matrix products under torch.autocast; None computes in the weights' own format."""


def best_device() -> torch.device:
    """The device that training and evaluation use."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def precision(device: torch.device) -> Precision:
    """The formats that keep `device` fast without losing small updates.

    Trained weights are float32 everywhere: an Adam step is often smaller than half a bfloat16 or
    float16 step of the weight that it should change, and would round to nothing.
    """
    if device.type == "cuda":
        # Emulated bfloat16 (before Ampere) is slower than float32.
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(torch.float32, frozen=torch.bfloat16, autocast=torch.bfloat16)
        # A float16 base would overflow where activations pass 65504; under autocast they are
        # added up in float32 and only matrix products run in float16.
        return Precision(torch.float32, frozen=torch.float32, autocast=torch.float16)
    if device.type == "mps":
        # Half the memory, which on a laptop decides whether a base fits.
        return Precision(torch.float32, frozen=torch.float16, autocast=None)
    # A CPU without bfloat16 instructions multiplies bfloat16 tens of times slower than float32.
    return Precision(torch.float32, frozen=torch.float32, autocast=None)


def keep_freed_memory() -> bool:
    """Let this process keep the memory of tensors that are freed, for the next ones.

    glibc takes a block of more than 32 MB from the kernel, and gives it back, each time: filling
    in its pages is 4 to 7 % of the time that scoring takes on a CPU. Returns whether glibc agreed;
    other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
    libc = ctypes.CDLL(None)
    return libc.mallopt(trim_threshold, 2**31 - 1) == libc.mallopt(mmap_max, 0) == 1


def memory(device: torch.device) -> int:
    """Bytes that `device` has in all: a GPU's own, Metal's working set, or the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_name(device: torch.device) -> str:
    """What a person calls `device`: a GPU's model, Apple's GPU, or the CPU with its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU (MPS)"
    return f"CPU, {os.cpu_count()} cores"
