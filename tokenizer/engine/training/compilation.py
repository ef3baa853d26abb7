"""``torch.compile`` as an option: checked before it is needed, and without a trace in names or files."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import fail


def compile_in_place(modules: Iterable[nn.Module], device: torch.device) -> None:
    """Let the forward of each module be compiled at its first call; keys of state dicts stay as they are.

    A copy made before, or by ``copy.deepcopy``, is not compiled. Raises ``UserError`` where compiling does not work,
    tried on one small function.
    """
    try:
        torch.compile(_probe)(torch.ones(8, device=device))
    except Exception as error:  # a missing compiler, an old driver, Triton: each fails in its own way
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise fail(
            f"torch.compile does not work on {device}",
            got=reason,
            expected="a C++ compiler, or Triton on a GPU",
            next_step="Train without --compile",
        ) from None
    for module in modules:
        module.compile()


def _probe(x: Tensor) -> Tensor:
    return x.tanh() * 2
