"""A person seen along the viewing ray of its box: points as directions about that ray, and the place that fits them."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import crop_geometry, ray_rotation

_LEAST_DEPTH = 0.1
_SURE = 0.3
_LEAST_SURE = 4
_RIDGE = 1e-7
"""Keeps the depth of a single point finite."""
_NEAREST = 0.3
"""Metres: nobody is photographed from closer."""


def box_of_points(points: Tensor, confidence: Tensor) -> Tensor:
    """Points (...,N,2) px with confidence (...,N) → the square (...,4) px around the confident ones, without a margin.

    Confident: at least 0.3; where fewer than four are, all that are known count, and where nothing is, all.
    """
    sure, known = confidence >= _SURE, confidence > 0
    used = torch.where((sure.sum(-1, keepdim=True) >= _LEAST_SURE), sure, known)
    used = torch.where(used.any(-1, keepdim=True), used, torch.ones_like(used))[..., None]
    low = points.masked_fill(~used, torch.inf).amin(-2)
    high = points.masked_fill(~used, -torch.inf).amax(-2)
    centre, half = (low + high) / 2, ((high - low).amax(-1, keepdim=True) / 2).clamp_min(1.0)
    return torch.cat([centre - half, centre + half], -1)


def rays_of_points(points: Tensor, box: Tensor, K: Tensor) -> Tensor:
    """Points (...,N,2) in crop units of ``box`` (...,4), K (...,3,3) of the full image → (...,N,2): x/z and y/z in the
    camera that is turned onto the ray of the middle of the box (``ray_rotation``)."""
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)[..., None, :]
    side = (box[..., 2:3] - box[..., :1])[..., None]
    directions = (box[..., None, :2] + (points + 0.5) * side - K[..., None, :2, 2]) / focal
    turned = torch.cat([directions, torch.ones_like(directions[..., :1])], -1) @ ray_rotation(box, K)
    return turned[..., :2] / turned[..., 2:].clamp_min(_LEAST_DEPTH)


def half_extent(box: Tensor, K: Tensor) -> Tensor:
    """Half the side of the box over the focal length, (...,): how large a person looks."""
    return crop_geometry(box, K)[..., 2] / 2


def place_on_rays(points: Tensor, rays: Tensor, weights: Tensor) -> Tensor:
    """The translation (...,3) m that puts points (...,N,3) m onto rays (...,N,2), weighted (...,N) least squares.

    With x = X/Z each point gives x·(Z+tz) = X+tx, and likewise for y: linear in the translation, three normal
    equations. Points are never brought closer than 0.3 m.
    """
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)
    x, y = rays.unbind(-1)
    off_x, off_y = x * points[..., 2] - points[..., 0], y * points[..., 2] - points[..., 1]

    def mean(values: Tensor) -> Tensor:
        return (weights * values).sum(-1)

    one, zero, mean_x, mean_y = torch.ones_like(mean(x)), torch.zeros_like(mean(x)), mean(x), mean(y)
    rows = [one, zero, -mean_x, zero, one, -mean_y, -mean_x, -mean_y, mean(x * x + y * y) + _RIDGE]
    right = torch.stack([mean(off_x), mean(off_y), -mean(x * off_x + y * off_y)], -1)
    place = torch.linalg.solve(torch.stack(rows, -1).unflatten(-1, (3, 3)), right)
    depth = place[..., 2].clamp_min(_NEAREST)
    return torch.cat([place[..., :2], depth[..., None]], -1)
