"""Networks whose weights are still to come: they take no memory and no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWS: tuple[Any, ...] = (Tensor.normal_, Tensor.uniform_)


def drawn(*shape: int) -> Tensor:
    """0.02 times normal numbers, the beginning of what is learned as it stands."""
    return torch.empty(shape).normal_().mul_(0.02)


class _Undrawn(TorchFunctionMode):
    """Leaves out random draws: those of tensors without memory, like products of two, PyTorch does in Python, for which
    it imports its compiler, two seconds' worth."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS:
            return args[0]
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def empty_weights() -> Iterator[None]:
    """Within, modules are built on the device ``meta``."""
    with torch.device("meta"), _Undrawn():
        yield
