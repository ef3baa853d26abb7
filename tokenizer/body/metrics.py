"""Errors of 3D points: per sample, in the unit given, any leading batch dimensions."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of corresponding points: (...,J,3), (...,J,3) → (...)."""
    return (predicted - target).norm(dim=-1).mean(-1)


def similarity_align(source: Tensor, target: Tensor) -> Tensor:
    """``source`` (...,J,3) moved, turned and scaled onto ``target`` with least squared error (Umeyama, 1991).

    Never reflects. All points of ``source`` in one place align to the target's centroid. A sample with numbers that are
    not finite becomes NaN, the others of the batch do not.
    """
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    x, y = source - source_mean, target - target_mean
    covariance = y.transpose(-1, -2) @ x
    u, singular, vh = torch.linalg.svd(torch.where(covariance.isfinite(), covariance, 0.0))
    sign = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0).to(x.dtype)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    rotation = (u * flip[..., None, :]) @ vh
    variance = x.square().sum((-1, -2)).clamp_min(torch.finfo(x.dtype).tiny)
    scale = ((singular * flip).sum(-1) / variance)[..., None, None]
    return scale * x @ rotation.transpose(-1, -2) + target_mean


def pa_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """``mpjpe`` after ``similarity_align``: what remains when position, orientation and size are forgiven."""
    return mpjpe(similarity_align(predicted, target), target)


def pve(predicted: Tensor, target: Tensor) -> Tensor:
    """Per-vertex error: ``mpjpe`` over vertices (...,V,3), as given; align roots before if that is the protocol."""
    return mpjpe(predicted, target)


def quantile(errors: Tensor, share: float) -> float:
    """The ``share``-th quantile of any number of errors, between neighbours linearly; NaN for none or among NaNs.

    ``torch.quantile`` takes at most 2²⁴ values.
    """
    values = errors.detach().flatten().cpu()
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    return float(np.quantile(values.numpy(), share)) if len(values) else math.nan
