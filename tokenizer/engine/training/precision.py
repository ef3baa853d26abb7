"""Where and how precisely to compute: device and autocast choices, resolved once and recorded."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch.nn.functional import conv2d

from ..errors import fail
from .processor import processor_described

Precision = Literal["auto", "fp32", "bf16", "fp16"]
ResolvedPrecision = Literal["fp32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types that autocast multiplies in."""


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


def with_float64(device: torch.device) -> torch.device:
    """``device`` where it computes in float64, else the CPU: Apple's GPUs (mps) do not."""
    return device if device.type in ("cpu", "cuda") else torch.device("cpu")


def resolve_precision(choice: Precision, device: torch.device) -> ResolvedPrecision:
    """``auto`` → bf16 where a matrix product in it is at least 1.5 times as fast as in fp32, else fp32.

    ``fp16`` is never chosen: where there is no bf16 (GPUs before Ampere), ask for it. The answer belongs into the run's
    configuration: a resumed run must compute as it began. Raises ``UserError`` for a device without such products.
    """
    if choice == "auto":
        return _fastest(device)
    if choice != "fp32":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # some devices warn, and compute in fp32
                with autocast(device, choice):
                    conv2d(torch.zeros(1, 1, 1, 1, device=device), torch.zeros(1, 1, 1, 1, device=device))
        except (RuntimeError, UserWarning) as error:
            raise fail(
                f"{device} does not compute in {choice}",
                got=str(error).splitlines()[0],
                next_step="Choose fp32, or auto",
            ) from None
    return choice


def slow_precision(choice: Precision, device: torch.device) -> str | None:
    """Plain words where ``choice`` computes more slowly than fp32 on this CPU; None elsewhere.

    Without instructions for it (avx512_bf16, AMX) a CPU emulates half precision.
    """
    if device.type != "cpu" or choice in ("auto", "fp32"):
        return None
    times = _product_seconds(HALF[choice]) / _product_seconds(torch.float32)
    if times < 1:
        return None
    return (
        f"{choice} takes {times:.1f} times as long as fp32 on this CPU ({processor_described()}), which has no "
        "instructions for it: choose fp32, or auto"
    )


def _fastest(device: torch.device) -> Literal["fp32", "bf16"]:
    if device.type == "cuda":
        # Cards before Ampere have no such units: they emulate bf16, slower than they compute in fp32.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
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


def autocast(device: torch.device, precision: ResolvedPrecision) -> AbstractContextManager[object]:
    """The context in which networks run forward; losses and body models stay outside, in fp32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, HALF[precision])


@contextmanager
def allow_tf32(device: torch.device) -> Iterator[None]:
    """Within, float32 products on a CUDA device may round their factors to TF32, ten bits, and so run on tensor cores.

    For the networks and the gradients of a training; a body computed so would be off by a millimetre.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def enable_cudnn_benchmark(device: torch.device) -> None:
    """Let a CUDA device try its convolutions on the first batch and keep the fastest: for batches of one size."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within, networks compute in the type of their weights, whatever the context around."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
