"""Everything that a training step changes, as one state to save and to resume from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic

import torch
from torch import nn

from ..distributed import broadcast_tensors, rank
from .averaging import M, WeightAverage
from .precision import ResolvedPrecision
from .scaling import LossScale


class BestWeights:
    """Weights of the validation whose figure, the lower the better, is the lowest so far. ``state`` goes into
    checkpoints: ``step``, ``figures`` and ``average``, the weights by name; None before the first validation."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None

    def update(self, step: int, figures: Mapping[str, float], criterion: str, average: nn.Module) -> None:
        """Keep a copy of the weights of ``average`` where ``figures[criterion]`` is the best so far.

        The copy is on the CPU: a GPU needs its memory for training. A NaN is replaced by any later figure.
        """
        best = math.nan if self.state is None else self.state["figures"][criterion]
        if math.isnan(best) or figures[criterion] < best:
            weights = {name: value.to("cpu", copy=True) for name, value in average.state_dict().items()}
            self.state = {"step": step, "figures": dict(figures), "average": weights}


class TrainState(Generic[M]):
    """A network, its optimizer, the loss scale, and on rank 0 the averaged and the best weights.

    ``name``: that of the network's weights in checkpoints; ``decay`` of the average; ``load_weights(module, weights)``
    puts weights into a module, and may refuse them.
    """

    def __init__(
        self,
        name: str,
        network: M,
        optimizer: torch.optim.Optimizer,
        *,
        decay: float,
        device: torch.device,
        precision: ResolvedPrecision,
        load_weights: Callable[[nn.Module, Any], object] = nn.Module.load_state_dict,
    ) -> None:
        self._name, self._device, self._load_weights = name, device, load_weights
        self.network, self.optimizer = network, optimizer
        self.average: WeightAverage[M] | None = WeightAverage(network, decay) if rank() == 0 else None
        self.scale, self.best = LossScale(device, precision), BestWeights()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of rank 0, for a checkpoint."""
        assert self.average is not None
        return {
            self._name: self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best.state,
            "scale": self.scale.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Load a checkpoint, which rank 0 has read."""
        self._load_weights(self.network, broadcast_tensors(state[self._name], self._device))
        self.optimizer.load_state_dict(broadcast_tensors(state["optimizer"], self._device))
        if self.average is not None:
            self._load_weights(self.average.module, state["average"])
        if "scale" in state:
            self.scale.load_state_dict(state["scale"])
        self.best.state = state.get("best")
