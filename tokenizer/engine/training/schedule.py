"""Learning-rate schedules, as pure functions of the progress of a training, which grows from 0 to 1.

``growth`` is what the step in question adds to ``progress``; ``warmup`` and ``milestones`` are shares of the way.
"""

from __future__ import annotations

import math

LONGEST_WARMUP = 0.25
_WARMUP_OF_BUDGET = 0.05


def warmup_share(warmup: int, steps: int, budget_s: float = 0.0) -> float:
    """The share of a training of ``steps`` steps that ``warmup`` of them are, at most a quarter.

    Under a time budget, which may allow far fewer steps, a warm-up is at least a twentieth of the way.
    """
    share = warmup / steps
    if budget_s and warmup:
        share = max(share, _WARMUP_OF_BUDGET)
    return min(share, LONGEST_WARMUP)


def warmup_cosine(progress: float, growth: float, *, warmup: float, floor: float = 0.0) -> float:
    """Factor on the peak rate: linear over ``warmup``, then a half cosine to ``floor``.

    Loshchilov & Hutter, SGDR (2017), without restarts, read in the middle of the step: the last one still moves.
    """
    if progress < warmup:
        return (progress + growth) / (warmup + growth)
    way = min(1.0, (progress - warmup + growth / 2) / max(1e-12, 1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * way))


def warmup_milestones(
    progress: float, growth: float, *, warmup: float, milestones: tuple[float, ...], gamma: float
) -> float:
    """Factor on the peak rate: linear over ``warmup``, then ``gamma`` to the milestones passed."""
    if progress < warmup:
        return (progress + growth) / (warmup + growth)
    return float(gamma ** sum(progress >= milestone for milestone in milestones))


def linear_ramp(progress: float, share: float) -> float:
    """From 0 at the start evenly to 1 at ``share`` of the way, and 1 from there on; always 1 where ``share`` is 0."""
    return min(1.0, progress / share) if share > 0 else 1.0
