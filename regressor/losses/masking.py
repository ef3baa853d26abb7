"""Masks of annotation: unknown values never count, whatever the arrays hold."""

from __future__ import annotations

import torch
from torch import Tensor


def expand_like(weight: Tensor, values: Tensor) -> Tensor:
    """``weight`` (B,...), of as many or fewer trailing dimensions, expanded to the shape of ``values`` (B,...)."""
    return weight.reshape(*weight.shape, *[1] * (values.ndim - weight.ndim)).expand_as(values)


def mask_invalid(target: Tensor, weight: Tensor) -> Tensor:
    """``target`` (B,...) with zeros where ``weight`` is 0: an unknown entry may hold anything, and NaN · 0 is NaN."""
    return torch.where(expand_like(weight, target) > 0, target, torch.zeros_like(target))


def valid_mean(values: Tensor, weight: Tensor, scale: Tensor | None = None, total: Tensor | None = None) -> Tensor:
    """Mean of values (B,...) weighted by ``weight``, (B,...) of as many or fewer trailing dimensions.

    ``scale``, shaped like a weight, multiplies the values alone: scaled by half, the mean is half. ``total`` is the sum
    of ``weight`` over a larger batch, of which these are a part: the results of its parts add up to its mean.
    """
    if total is not None:
        total = total * (values.numel() // weight.numel())
    weight = expand_like(weight, values).to(values.dtype)
    if scale is not None:
        values = values * expand_like(scale, values)
    return (values * weight).sum() / (weight.sum() if total is None else total).clamp_min(1e-6)


def valid_sum(values: Tensor, weight: Tensor) -> Tensor:
    """Sum of values (B,...) weighted by ``weight``, (B,...) of as many or fewer trailing dimensions."""
    return (values * expand_like(weight, values)).sum()
