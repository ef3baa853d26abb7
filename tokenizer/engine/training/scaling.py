"""Loss scaling: what fp16 needs so that small gradients do not vanish, and large ones cost a step and not the run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .precision import ResolvedPrecision

_IN_A_ROW = 30
"""A scale that fell by 2^30 in vain is not what is wrong."""
_FIRST = 2.0**16


class LossScale:
    """Multiplies the loss before backward, and divides the gradients after it, by a factor that fits fp16 (Micikevicius
    et al., Mixed precision training, 2018); in other precisions nothing is done, and no step is skipped.

    A step whose gradient overflows is left out, and the factor halved; after 2,000 good ones it is doubled. All
    processes have equal gradients, hence equal factors. Call, in this order: ``scale`` on the loss, ``unscale`` on the
    gradients, ``step``.
    """

    def __init__(self, device: torch.device, precision: ResolvedPrecision, first: float = _FIRST) -> None:
        self._scaler = torch.amp.GradScaler(device.type, init_scale=first, enabled=precision == "fp16")
        self.skipped = 0
        self._in_a_row = 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return ``loss`` times the factor."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients of the parameters of ``optimizer`` by the factor; overflowed ones stay infinite."""
        self._scaler.unscale_(optimizer)

    def should_abort(self, norm: float) -> bool:
        """Return whether gradients of this ``norm`` end the training: non-finite, and in fp16 30 times in a row."""
        return not math.isfinite(norm) and not (self._scaler.is_enabled() and self._in_a_row < _IN_A_ROW)

    def step(self, optimizer: torch.optim.Optimizer, norm: float) -> bool:
        """Step unless ``norm``, of the gradients and equal on all processes, is non-finite. Return whether it did."""
        stepped = math.isfinite(norm)
        if stepped:
            self._scaler.step(optimizer)
        self.skipped += not stepped
        self._in_a_row = 0 if stepped else self._in_a_row + 1
        self._scaler.update()
        return stepped

    def figures(self) -> dict[str, float]:
        """``loss_scale`` and ``skipped_steps`` so far; empty in other precisions."""
        enabled = self._scaler.is_enabled()
        return {"loss_scale": self._scaler.get_scale(), "skipped_steps": self.skipped} if enabled else {}

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**self._scaler.state_dict(), "skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
        scale = dict(state)
        self.skipped, self._in_a_row = scale.pop("skipped"), scale.pop("in_a_row")
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(scale)
