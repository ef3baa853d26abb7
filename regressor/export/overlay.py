"""Bodies painted over pictures, and next to them the view from the side.

Faces are filled from the farthest to the nearest, each in one colour: for pictures to look at, of closed meshes of
small triangles, some twenty times faster on a CPU than the exact ``tokenizer.body.render``, from which they differ by
about two grey levels and a fraction of a pixel at edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import BODY_COLOUR, TRUE_COLOUR, Colour, lay_over
from tokenizer.body.render import vertex_normals

_NEAR = 0.05
_SUBPIXELS = 2
_BITS = 4
"""Of fractions of a sub-pixel."""
_FAR_OFF = 1 << 14
"""Sub-pixels from the picture's corner, beyond which a triangle is left out: it would overflow OpenCV's numbers."""
_LIGHT = (-0.5, -0.8, -1.0)
_AMBIENT = 0.35


@torch.no_grad()
def paint_faces(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], colour: Colour = BODY_COLOUR
) -> np.ndarray:
    """Meshes in camera axes (B,V,3), metres, faces (F,3) of each, K (3,3) of one picture of ``size`` (height, width) px
    → (H,W,4) uint8 RGBA, transparent where nothing is; the nearer hides the farther. Faces turned away, and those with
    a corner nearer than 5 cm, are left out."""
    vertices, faces, K = vertices.float().cpu(), faces.cpu(), K.float().cpu()
    light = torch.nn.functional.normalize(vertices.new_tensor(_LIGHT), dim=0)
    cosine = (vertex_normals(vertices, faces) @ light).clamp_min(0)
    brightness = (_AMBIENT + (1 - _AMBIENT) * cosine)[:, faces].mean(-1).flatten().numpy()
    depth = vertices[..., 2][:, faces].flatten(0, 1).numpy()
    projected = vertices @ K.T
    pixels = (projected[..., :2] / projected[..., 2:].clamp_min(1e-6))[:, faces].flatten(0, 1).numpy()
    corners = pixels * _SUBPIXELS - 0.5
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    limits = np.array([size[1], size[0]]) * _SUBPIXELS
    inside = (corners.max(1) >= 0).all(1) & (corners.min(1) < limits).all(1) & (np.abs(corners) < _FAR_OFF).all((1, 2))
    visible = np.flatnonzero((area < 0) & inside & (depth > _NEAR).all(1))
    visible = visible[np.argsort(-depth[visible].mean(1), kind="stable")]
    places = np.round(corners[visible] * (1 << _BITS)).astype(np.int32)
    colours = np.round(brightness[visible, None] * np.array(colour) * 255)
    picture = np.zeros((size[0] * _SUBPIXELS, size[1] * _SUBPIXELS, 4), np.uint8)
    fill = cv2.fillConvexPoly
    for corner, shade in zip(places, np.concatenate([colours, np.full((len(visible), 1), 255.0)], 1).tolist()):
        fill(picture, corner, shade, cv2.LINE_8, _BITS)
    small = cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    share = small[..., 3:].astype(np.float32) / 255
    colours = small[..., :3] / np.maximum(share, 1 / 255)
    return np.concatenate([colours.round().clip(0, 255).astype(np.uint8), small[..., 3:]], -1)


_SIDE_DISTANCE = 6.0
_PERSON_M = 1.15
_GREY = 236


def overlay(
    image: np.ndarray,
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    colour: Colour = BODY_COLOUR,
    opacity: float = 0.9,
) -> np.ndarray:
    """Bodies (B,V,3) or one (V,3), where they stand in camera axes, over an image (H,W,3) uint8 RGB with K (3,3); the
    nearer body hides the farther."""
    people = vertices if vertices.dim() == 3 else vertices[None]
    painted = paint_faces(people, faces, K, (image.shape[0], image.shape[1]), colour)
    return lay_over(image, painted, opacity)


def side_view(
    vertices: Tensor,
    faces: Tensor,
    size: int,
    colour: Colour = BODY_COLOUR,
    reach: float | None = None,
) -> np.ndarray:
    """Meshes (B,V,3) in camera axes about the middle of the picture, seen from the camera's right →
    (B,size,size,4) uint8 RGBA. From the middle to the edge of the picture are ``reach`` metres, by default those that
    show all."""
    reach = float(vertices.abs().max()) * 1.05 if reach is None else reach
    x, y, z = vertices.unbind(-1)
    turned = torch.stack([z, y, _SIDE_DISTANCE - x], -1)
    # Perspective: what is nearer than the middle must not leave the picture.
    K = intrinsics(torch.tensor(size / 2 * (_SIDE_DISTANCE - reach / 2) / max(reach, 1e-6)), size, size)
    return np.stack([paint_faces(mesh[None], faces, K, (size, size), colour) for mesh in turned])


def both_sides(
    predicted: Tensor, true: Tensor, faces: Tensor, size: int, *, known: Sequence[bool] | None = None
) -> list[np.ndarray]:
    """Predicted over true meshes (B,V,3) in camera axes about the pelvis, from the side and all at one scale → B
    pictures (size,size,3) uint8 RGB. ``known``: whose true mesh is one; the others are left out."""
    pictures = [np.full((size, size, 3), _GREY, np.uint8) for _ in range(len(predicted))]
    behind = side_view(true, faces, size, TRUE_COLOUR, reach=_PERSON_M)
    before = side_view(predicted, faces, size, BODY_COLOUR, reach=_PERSON_M)
    for i, picture in enumerate(pictures):
        is_known = known is None or known[i]
        if is_known:
            picture = lay_over(picture, behind[i], 1.0)
        pictures[i] = lay_over(picture, before[i], 0.75 if is_known else 1.0)
    return pictures
