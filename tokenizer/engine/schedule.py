"""Learning-rate schedules and step budgets, as pure functions of the step."""

from __future__ import annotations

import math


def warmup_cosine(step: int, *, steps: int, warmup: int, floor: float = 0.0) -> float:
    """Factor on the peak rate at ``step`` of ``steps``: linear over ``warmup`` steps, then a half cosine to ``floor``.

    Loshchilov & Hutter, SGDR (2017), without restarts. The last step still moves: progress is (step + 1/2) / steps.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup + 0.5) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_milestones(step: int, *, warmup: int, milestones: tuple[int, ...], gamma: float) -> float:
    """Factor on the peak rate at ``step``: linear over ``warmup`` steps, then ``gamma`` to the milestones passed."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return float(gamma ** sum(step >= milestone for milestone in milestones))


def growth(step: int, steps: float) -> float:
    """From 0 at step 0 and before evenly to 1 at ``steps``, and 1 from there on; always 1 where ``steps`` is 0."""
    return min(1.0, max(0.0, step / steps)) if steps > 0 else 1.0


def steps_within(seconds: float, seconds_per_step: float, *, at_most: int) -> int:
    """How many steps fit a time budget, at least 1 and ``at_most``."""
    return max(1, min(at_most, int(seconds / max(seconds_per_step, 1e-9))))
