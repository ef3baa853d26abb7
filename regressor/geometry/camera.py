"""Crops of pinhole cameras: the axes and units of ``tokenizer.body.camera``.

A crop is a square box (x0,y0,x1,y1) of the full image, resampled; crop units run from −0.5 to 0.5 across it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics, project
from tokenizer.engine.constants import constant
from tokenizer.engine.errors import fail

_LEAST_SCALE = 0.05
REFERENCE_FOCAL = 5000 / 256
"""Focal length in crop widths where nothing but a crop is known: that of HMR2.0 and TokenHMR."""
DEFAULT_FOV_DEG = 55.0
"""Assumed diagonal field of view where the camera is not known: about a 42 mm lens on a 36 × 24 mm frame."""


def pixels_to_crop(pixels: Tensor, box: Tensor) -> Tensor:
    """Pixels (...,N,2) of the full image → crop units of the square box (...,4)."""
    return (pixels - box[..., None, :2]) / (box[..., 2:3] - box[..., :1])[..., None] - 0.5


def project_to_crop(points: Tensor, box: Tensor, K: Tensor) -> Tensor:
    """Camera-frame points (...,N,3) → crop units (...,N,2)."""
    return pixels_to_crop(project(points, K), box)


def crop_intrinsics(K: Tensor, box: Tensor, size: int) -> Tensor:
    """K (...,3,3) of the full image → K of the crop of ``box`` (...,4) at ``size`` pixels."""
    scale = size / (box[..., 2] - box[..., 0])
    crop = K.clone()
    crop[..., :2, :] *= scale[..., None, None]
    crop[..., 0, 2] -= box[..., 0] * scale
    crop[..., 1, 2] -= box[..., 1] * scale
    return crop


def lone_crop_camera(count: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Box (count,4) and K (count,3,3) for crops without an image around them: 256 px, seen from far away."""
    size = 256.0
    box = constant((0.0, 0.0, size, size), device or torch.device("cpu")).expand(count, 4)
    focal = torch.full((), REFERENCE_FOCAL * size, device=device)
    return box, intrinsics(focal, size, size).expand(count, 3, 3)


def assumed_intrinsics(width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG) -> Tensor:
    """K (3,3) of an image whose camera is not known, from a diagonal field of view in degrees.

    Raises ``UserError`` for an angle that no pinhole camera has.
    """
    if not 1 <= fov_deg <= 170:
        raise fail("The field of view is impossible", got=f"{fov_deg:g}°", expected="1° to 170°, along the diagonal")
    focal = math.hypot(width, height) / 2 / math.tan(math.radians(fov_deg) / 2)
    return intrinsics(torch.tensor(focal), width, height)


def square_box(box: Tensor, margin: float = 1.2, aspect: float = 1.0) -> Tensor:
    """The square around a box (...,4) about a person.

    Same centre; its side is the box's height, or the width over ``aspect`` where that is larger, times ``margin``.
    ``aspect`` is the width over the height of what the network sees of a crop, ``BackboneConfig.aspect``: a person as
    wide as tall then fits into what a ViT sees, too.
    """
    centre = (box[..., :2] + box[..., 2:]) / 2
    extent = (box[..., 2:] - box[..., :2]) / constant((aspect, 1.0), box.device, box.dtype)
    half = extent.amax(-1, keepdim=True) * margin / 2
    return torch.cat([centre - half, centre + half], -1)


def prediction_box(box: Tensor, aspect: float) -> Tensor:
    """The square (...,4) that a network looks at of a given box (...,4) about a person, tight or not.

    A ViT, which sees ``aspect`` of it (0.75), gets the published crop of evaluation and prediction alike: the box
    widened to 192:256 and its longer side, without a margin, be it the box of a detector or of an annotation, whose
    margin counts as part of it (Goel et al., Humans in 4D, ICCV 2023). Others, which see all of a crop, get
    ``square_box`` with the margin of their training.
    """
    return square_box(box, aspect=aspect) if aspect == 1 else square_box(box, 1.0, aspect)


def crop_geometry(box: Tensor, K: Tensor) -> Tensor:
    """box (...,4), K (...,3,3) → (...,3): the box centre as a ray (x/z, y/z), and box side over focal length."""
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], -1)
    centre = ((box[..., :2] + box[..., 2:]) / 2 - K[..., :2, 2]) / focal
    return torch.cat([centre, (box[..., 2:3] - box[..., :1]) / focal[..., :1]], -1)


def ray_rotation(box: Tensor, K: Tensor) -> Tensor:
    """The smallest rotation (...,3,3) that turns the optical axis onto the viewing ray of the box centre.

    A person seen off-centre looks turned by as much: orientation relative to the ray is what a crop can tell.
    """
    x, y = crop_geometry(box, K)[..., :2].unbind(-1)
    x, y, z = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1), dim=-1).unbind(-1)
    k = 1 / (1 + z)
    rows = [1 - x * x * k, -x * y * k, x, -x * y * k, 1 - y * y * k, y, -x, -y, z]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def crop_camera_to_translation(camera: Tensor, box: Tensor, K: Tensor) -> Tensor:
    """Crop camera (...,3) as s, tx, ty → translation (...,3) in the full camera frame, metres.

    ``s`` is how many times 2 metres fit into the crop: depth = 2 · focal / (s · side); tx, ty are metres off its ray.
    Kanazawa et al., HMR (CVPR 2018), with the true focal length in place of a constant.
    """
    scale, tx, ty = camera.unbind(-1)
    x, y, side = crop_geometry(box, K).unbind(-1)
    depth = 2 / (scale.clamp_min(_LEAST_SCALE) * side)
    return torch.stack([tx + x * depth, ty + y * depth, depth], -1)


def translation_to_crop_camera(translation: Tensor, box: Tensor, K: Tensor) -> Tensor:
    """The inverse of ``crop_camera_to_translation``."""
    tx, ty, depth = translation.unbind(-1)
    x, y, side = crop_geometry(box, K).unbind(-1)
    return torch.stack([2 / (depth * side), tx - x * depth, ty - y * depth], -1)
