"""Where and how precisely to compute: device and autocast choices, resolved once and recorded."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from .errors import fail

Precision = Literal["auto", "fp32", "bf16"]


def resolve_device(name: str) -> torch.device:
    """``auto`` → CUDA when present, else the CPU; any other torch device name as it is.

    Raises ``UserError`` for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise fail(f"Device {name!r} cannot be used", got=reason, next_step="Try --device auto") from None
    return device


def resolve_precision(choice: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` → bf16 where a matrix product in it is at least 1.5 times as fast as in fp32, else fp32.

    The answer belongs into the run's configuration: a resumed run must compute as it began.
    """
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type != "cpu":
        return "fp32"
    return "bf16" if _product_seconds(torch.float32) > 1.5 * _product_seconds(torch.bfloat16) else "fp32"


def _product_seconds(dtype: torch.dtype) -> float:
    a = torch.ones(768, 768, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return best


def autocast(device: torch.device, precision: Literal["fp32", "bf16"]) -> AbstractContextManager[object]:
    """The context in which networks run forward; losses and body models stay outside, in fp32."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
