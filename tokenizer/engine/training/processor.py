"""Which CPU this is and what it can do: a figure of speed means little without it."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path


def processor_name() -> str:
    """Return the CPU's name as its maker gives it, or the kind of machine where that is unknown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def instruction_set() -> str:
    """The widest vector instructions that PyTorch uses here: AVX2, AVX512, …"""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def processor_described() -> str:
    """Return name and instruction set, to print with a figure."""
    return f"{processor_name()}, {instruction_set()}"
