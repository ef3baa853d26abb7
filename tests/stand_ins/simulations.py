"""Simulated people as a detector without errors would see them."""

from __future__ import annotations

from dataclasses import replace

from regressor.config import SIMULATED_VAL

EXACT = replace(
    SIMULATED_VAL,
    error=0,
    error_unsure=0,
    outliers=0,
    swaps=0,
    dropped=0,
    hidden_legs=0,
    hidden_limb=0,
    coco=0,
    close=0,
    wild=0,
    hints=1.0,
    hint_error=0,
)
