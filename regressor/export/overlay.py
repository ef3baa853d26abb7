"""Bodies painted over pictures, and beside them from the side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import BODY_COLOUR, TRUE_COLOUR, Colour, lay_over

from .painter import paint_faces

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
    return np.stack([paint_faces(one[None], faces, K, (size, size), colour) for one in turned])


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
