"""The cameras that training may assume for a crop, and where a body must stand to be seen best through one.

A crop camera is K (...,3,3) in crop units: a point in front of it falls on [−0.5, 0.5] across the crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics
from tokenizer.engine.errors import fail
from tokenizer.engine.training.precision import with_float64

from .camera import REFERENCE_FOCAL, crop_intrinsics


class CropGeometry(TypedDict):
    """What of a ``Sample`` a camera model reads, pixels of the full image: box (B,4) x0,y0,x1,y1, square; image_size
    (B,2) width, height; K (B,3,3)."""

    box: Tensor
    image_size: Tensor
    K: Tensor


CameraModel = Callable[[CropGeometry], Tensor]
"""A sample → the crop camera (B,3,3) that a regressor assumes for it."""


def camera_model(spec: str) -> CameraModel:
    """A camera by name.

    ``reference``: focal length ``REFERENCE_FOCAL``, axis through the middle of the crop; ``focal=F``: likewise, of F
    crop sides; ``fov=DEG``: of the full image, whose diagonal spans this angle; ``true``: the annotated K. Raises
    ``UserError`` for any other name or an impossible number.
    """
    name, _, number = spec.partition("=")
    if spec == "reference":
        return lambda sample: _centred(sample, REFERENCE_FOCAL)
    if spec == "true":
        return lambda sample: _in_crop(sample, sample["K"])
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name == "focal" and 0 < value < math.inf:
        return lambda sample: _centred(sample, value)
    if name == "fov" and 1 <= value <= 170:
        return lambda sample: _in_crop(sample, _of_diagonal(sample, value))
    raise fail(f"Unknown camera {spec!r}", expected="reference, true, focal=CROP_SIDES or fov=DEGREES (1 to 170)")


def fit_translation(
    points: Tensor, target: Tensor, weight: Tensor, camera: Tensor, *, start: Tensor | None = None, steps: int = 10
) -> Tensor:
    """The translation (...,3), metres, at which points (...,N,3) are seen nearest to target (...,N,2), crop units.

    Least squares with ``weight`` (...,N) through the crop camera (...,3,3): direct linear solution (or ``start``), then
    ``steps`` of Gauss–Newton. At least two points need a weight. Float64 inside, on the CPU where the device has none;
    the result is float64 where its device has that, else float32.
    """
    device = points.device
    home = with_float64(device)
    points, target, weight, camera = (values.to(home, torch.float64) for values in (points, target, weight, camera))
    focal = torch.stack([camera[..., 0, 0], camera[..., 1, 1]], -1)[..., None, :]
    ray = (target - camera[..., None, :2, 2]) / focal
    ones, zeros = torch.ones_like(ray[..., 0]), torch.zeros_like(ray[..., 0])
    if start is None:
        # (X + tx) = ray · (Z + tz), twice: linear in the translation.
        rows = torch.stack(
            [
                torch.stack([ones, zeros, -ray[..., 0]], -1),
                torch.stack([zeros, ones, -ray[..., 1]], -1),
            ],
            -2,
        )
        translation = _solve(rows, ray * points[..., 2:] - points[..., :2], weight)
    else:
        translation = start.to(home, torch.float64)
    nearest = 0.1 - points[..., 2].amin(-1)
    for _ in range(steps):
        translation = torch.cat([translation[..., :2], translation[..., 2:].clamp_min(nearest[..., None])], -1)
        x, y, z = (points + translation[..., None, :]).unbind(-1)
        residual = ray - torch.stack([x / z, y / z], -1)
        rows = torch.stack(
            [
                torch.stack([1 / z, zeros, -x / z**2], -1),
                torch.stack([zeros, 1 / z, -y / z**2], -1),
            ],
            -2,
        )
        translation = translation + _solve(rows * focal[..., None], residual * focal, weight)
    translation = torch.cat([translation[..., :2], translation[..., 2:].clamp_min(nearest[..., None])], -1)
    return translation if home == device else translation.float().to(device)


def _solve(rows: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Weighted least squares: rows (...,N,2,3), right (...,N,2), weight (...,N) → (...,3)."""
    weighted = rows * weight[..., None, None]
    normal = torch.einsum("...nki,...nkj->...ij", weighted, rows)
    damping = 1e-9 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-12
    normal = normal + damping * torch.eye(3, dtype=rows.dtype, device=rows.device)
    return torch.linalg.solve(normal, torch.einsum("...nki,...nk->...i", weighted, right))


def _centred(sample: CropGeometry, focal: float) -> Tensor:
    box = sample["box"]
    return intrinsics(torch.full(box.shape[:-1], focal, dtype=box.dtype, device=box.device), 0.0, 0.0)


def _of_diagonal(sample: CropGeometry, degrees: float) -> Tensor:
    size = sample["image_size"]
    K = intrinsics(size.norm(dim=-1) / 2 / math.tan(math.radians(degrees) / 2), 0.0, 0.0)
    K[..., :2, 2] = size / 2
    return K


def _in_crop(sample: CropGeometry, K: Tensor) -> Tensor:
    camera = crop_intrinsics(K, sample["box"], 1)
    camera[..., :2, 2] -= 0.5
    return camera
