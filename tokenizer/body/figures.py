"""Bodies as pictures: in a plain suit, painted where they stand, laid over an image, or before a fixed camera."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .camera import intrinsics
from .model import Body
from .render import downsample, interpolate, rasterize, shade, vertex_normals
from .vertex_sets import REGION_NAMES

Colour = tuple[float, float, float]
BODY_COLOUR: Colour = (0.40, 0.54, 0.77)
TRUE_COLOUR: Colour = (0.80, 0.68, 0.38)
"""RGB of the suit of what a network made, and of what is true."""
_SKIN: Colour = (0.88, 0.74, 0.64)
_HAIR: Colour = (0.38, 0.33, 0.30)
_EYES: Colour = (0.20, 0.20, 0.22)
_BARE = ("wrist", "hand", "ankle", "foot")
"""Joints whose vertices, hands and feet, are not covered."""
_RAMP = ((0.82, 0.82, 0.80), (0.91, 0.50, 0.20), (0.56, 0.05, 0.12))
_SUBPIXELS = 2
_DISTANCE = 4.0


def suit_colours(body: Body, colour: Colour = BODY_COLOUR) -> Tensor:
    """RGB (V,3) of a body in a plain suit of that ``colour``: hands, feet and face are bare, hair is dark."""
    colours = torch.tensor(colour).repeat(len(REGION_NAMES), 1)
    for number, name in enumerate(REGION_NAMES):
        if name.rpartition("_")[2] in _BARE or name == "face":
            colours[number] = torch.tensor(_SKIN)
    colours[REGION_NAMES.index("head")] = torch.tensor(_HAIR)
    colours[REGION_NAMES.index("eyes")] = torch.tensor(_EYES)
    return colours[body.vertex_region.cpu()]


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
    or (V,3) or (B,V,3) of the vertices. Painted on the CPU, wherever the meshes are: rays are cut in float64, which not
    every GPU has."""
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
    # In 16 bits, of which a colour times a share of 256 takes all: several times as fast as floats.
    alpha = np.repeat(np.ascontiguousarray(painted[..., 3]), 3).reshape(image.shape)
    share = ((np.arange(256) * round(opacity * 256) + 127) // 255).astype(np.uint16)[alpha]
    mixed = image * (256 - share)
    mixed += painted[..., :3] * share
    mixed += 127
    mixed >>= 8
    return mixed.astype(np.uint8)


@torch.no_grad()
def figures(
    body: Body, rotations: Tensor, size: tuple[int, int], colour: Colour | Tensor, *, yaw_deg: float = 25.0
) -> np.ndarray:
    """Poses (B,21,3,3) of the average person, seen from the front turned by ``yaw_deg`` → (B,H,W,4) uint8 RGBA, in one
    ``colour`` or with those of their vertices (V,3) or (B,V,3).

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
