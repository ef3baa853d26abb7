"""Bodies as pictures: painted where they stand, laid over an image, posed before a fixed camera."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .camera import intrinsics
from .model import Body
from .render import downsample, interpolate, rasterize, shade, vertex_normals

Colour = tuple[float, float, float]
BODY_COLOUR: Colour = (0.91, 0.50, 0.20)
TRUE_COLOUR: Colour = (0.16, 0.56, 0.60)
"""RGB of what a network made, and of what is true."""
_RAMP = ((0.82, 0.82, 0.80), BODY_COLOUR, (0.56, 0.05, 0.12))
_SUBPIXELS = 2
_DISTANCE = 4.0


def heat_colours(values: Tensor, full: float) -> Tensor:
    """Values (...) → RGB (...,3): grey at 0, orange halfway, dark red from ``full`` on."""
    ramp = values.new_tensor(_RAMP)
    place = (values / full).clamp(0, 1) * (len(ramp) - 1)
    below = place.floor().long().clamp_max(len(ramp) - 2)
    return torch.lerp(ramp[below], ramp[below + 1], (place - below)[..., None])


@torch.no_grad()
def paint(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], colour: Colour | Tensor = BODY_COLOUR
) -> np.ndarray:
    """Meshes in camera axes (B,V,3), metres, faces (F,3), K (B,3,3) of a picture of ``size`` (height, width) px →
    (B,H,W,4) uint8 RGBA, transparent where nothing is. Each mesh has its own picture. ``colour``: RGB in [0, 1] of all,
    or (B,V,3). Painted on the CPU, wherever the meshes are: rays are cut in float64, which not every GPU has."""
    vertices, faces, K = vertices.cpu(), faces.cpu(), K.cpu()
    fine = K.clone()
    fine[:, :2] *= _SUBPIXELS
    raster = rasterize(vertices, faces, fine, (size[0] * _SUBPIXELS, size[1] * _SUBPIXELS), cull=True)
    normals = interpolate(raster, vertex_normals(vertices, faces), faces)
    light = vertices.new_tensor([-0.5, -0.8, -1.0]).expand(len(vertices), 3)
    opacity = (raster.face >= 0)[..., None].to(vertices.dtype)
    if isinstance(colour, Tensor):
        albedo = interpolate(raster, colour.to(vertices), faces)
    else:
        albedo = vertices.new_tensor(colour) * opacity
    shaded = shade(normals, light, 0.35) * albedo
    painted = downsample(torch.cat([shaded, opacity], -1), _SUBPIXELS)
    rgb, alpha = painted[..., :3], painted[..., 3:]
    rgba: np.ndarray = (torch.cat([rgb / alpha.clamp_min(1e-6), alpha], -1) * 255).round().byte().cpu().numpy()
    return rgba


def lay_over(image: np.ndarray, painted: np.ndarray, opacity: float = 0.9) -> np.ndarray:
    """A painting (H,W,4) over an image (H,W,3), both uint8 RGB(A) → (H,W,3) uint8."""
    alpha = painted[..., 3:].astype(np.float32) * (opacity / 255)
    mixed: np.ndarray = (image * (1 - alpha) + painted[..., :3] * alpha).round().astype(np.uint8)
    return mixed


@torch.no_grad()
def figures(
    body: Body, rotations: Tensor, size: tuple[int, int], colour: Colour | Tensor, *, yaw_deg: float = 25.0
) -> np.ndarray:
    """Poses (B,21,3,3) of the average person, seen from the front turned by ``yaw_deg`` → (B,H,W,4) uint8 RGBA, in one
    ``colour`` or with those of their vertices (B,V,3).

    The view is the same for all, so that pictures of one pose before and after a change can be compared.
    """
    angle = math.radians(yaw_deg)
    turn = rotations.new_tensor(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    to_camera = turn * turn.new_tensor([[1.0], [-1.0], [-1.0]])
    vertices = body.vertices(rotations, root=to_camera)
    pelvis = body.joints(rotations, root=to_camera)[:, :1]
    vertices = vertices - pelvis + vertices.new_tensor([0.0, 0.0, _DISTANCE])
    focal = vertices.new_tensor(size[0] / 2.05 * _DISTANCE)
    K = intrinsics(focal, size[1], size[0]).expand(len(vertices), 3, 3)
    return paint(vertices, body.faces, K, size, colour)
