"""Stage 2: from an image crop to pose tokens to a SMPL body."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Prediction": "network.prediction",
    "Regressor": "network.model",
    "load_regressor": "checkpoints.regressor_file",
}

__all__ = ["Prediction", "Regressor", "load_regressor"]


def __getattr__(name: str) -> Any:
    """Public names load on first use, so that ``--help`` never pays for torch."""
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
