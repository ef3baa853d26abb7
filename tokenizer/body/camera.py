"""Pinhole cameras. OpenCV axes (x right, y down, z forward), pixel centres at +0.5, K (3,3) in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

_NEAREST = 0.05


def intrinsics(focal: Tensor, width: float, height: float) -> Tensor:
    """Focal length in pixels (...) → K (...,3,3), square pixels, principal point in the middle of the image."""
    K = torch.zeros(*focal.shape, 3, 3, dtype=focal.dtype, device=focal.device)
    K[..., 0, 0] = K[..., 1, 1] = focal
    K[..., 0, 2], K[..., 1, 2], K[..., 2, 2] = width / 2, height / 2, 1
    return K


def project(points: Tensor, K: Tensor) -> Tensor:
    """Camera-frame points (...,N,3), K (...,3,3) → pixels (...,N,2). Points nearer than 5 cm are taken at 5 cm."""
    scaled = points @ K.transpose(-1, -2)
    return scaled[..., :2] / scaled[..., 2:].clamp_min(_NEAREST)
