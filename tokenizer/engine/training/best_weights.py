"""The averaged weights of the best validation so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn


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
