"""Exponential moving average of a module's weights, whose horizon grows with training."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class WeightAverage(Generic[M]):
    """Keeps an averaged copy of ``module``: after step t the decay is min(``decay``, (1 + t) / (10 + t)).

    The copy is what is validated and exported. ``state_dict`` and ``load_state_dict`` make it part of a checkpoint.
    """

    def __init__(self, module: M, decay: float) -> None:
        self.module: M = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: M, step: int) -> None:
        """Move the average towards ``module`` after step ``step``; buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        average: list[torch.Tensor] = list(self.module.parameters())
        current: list[torch.Tensor] = [parameter.detach() for parameter in module.parameters()]
        torch._foreach_lerp_(average, current, 1 - decay)
        for averaged, live in zip(self.module.buffers(), module.buffers(), strict=True):
            averaged.copy_(live)
