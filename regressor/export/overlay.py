"""Bodies painted over pictures, and seen from the side.

Faces are filled from the farthest to the nearest: for pictures to look at, of closed meshes of small triangles, far
faster on a CPU than the exact ``tokenizer.body.render``, from which they differ by about two grey
levels and a fraction of a pixel at edges.

1. What faces the camera is projected to sub-pixels of the rectangle that the bodies cover; nothing else is touched.
2. Each row of a triangle is a run of sub-pixels; runs are written in the order of depth, so that the nearest stays.
3. Sub-pixels, each in the colour of its face, become pixels with an opacity; light is linear over each face.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import BODY_COLOUR, TRUE_COLOUR, Colour, lay_over, suit_colours

_NEAR = 0.05
_SUBPIXELS = 2
_FAR_OFF = 1 << 14
"""Sub-pixels from the picture's corner, beyond which a triangle is left out."""
_LEAST_AREA = 1e-6
"""Of a triangle that is painted, in square sub-pixels, twice."""
_SLACK = 1e-4
"""Sub-pixels by which triangles overlap, so that none shines through between two."""
_MOST_RUNS = 1 << 21
"""Rows of triangles that are filled at a time."""
_LIGHT = (-0.5, -0.8, -1.0)
_AMBIENT = 0.35


def paint_faces(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], colour: Colour | Tensor = BODY_COLOUR
) -> np.ndarray:
    """Meshes in camera axes (B,V,3), metres, faces (F,3) of each, K (3,3) of one picture of ``size`` (height, width) px
    → (H,W,4) uint8 RGBA, transparent where nothing is; the nearer hides the farther. Faces turned away, and those with
    a corner nearer than 5 cm, are left out. ``colour``: RGB in [0, 1] of all, or (V,3) of each mesh's vertices."""
    picture = np.zeros((*size, 4), np.uint8)
    patch, top, left = _painted(vertices, faces, K, size, colour)
    picture[top : top + patch.shape[0], left : left + patch.shape[1]] = patch
    return picture


def _painted(
    vertices: Tensor, faces: Tensor, K: Tensor, size: tuple[int, int], colour: Colour | Tensor
) -> tuple[np.ndarray, int, int]:
    """``paint_faces`` of the rectangle (h,w,4) that the meshes cover, and its top and left edge in the picture."""
    points, triangles = vertices.detach().float().cpu().numpy(), faces.cpu().numpy()
    projected = points @ K.float().cpu().numpy().T
    depth, scale = points[..., 2], _SUBPIXELS / np.maximum(projected[..., 2], 1e-6)
    # Values of the three corners, each (B·F,): numpy is slow along an axis of three.
    x, y, z, light = (
        [values[:, triangles[:, corner]].ravel() for corner in range(3)]
        for values in (
            projected[..., 0] * scale - 0.5,
            projected[..., 1] * scale - 0.5,
            depth,
            _brightness(points, triangles),
        )
    )
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    limits = np.array([size[1], size[0]]) * _SUBPIXELS
    inside = (area < -_LEAST_AREA) & (_least(z) > _NEAR)
    for values, limit in zip((x, y), limits):
        high, low = _most(values), _least(values)
        inside &= (high >= 0) & (low < limit) & (low > -_FAR_OFF) & (high < _FAR_OFF)
    seen = np.flatnonzero(inside)
    if not len(seen):
        return np.zeros((0, 0, 4), np.uint8), 0, 0
    seen = seen[np.argsort(-(z[0] + z[1] + z[2])[seen], kind="stable")]
    x, y, light = ([values[seen] for values in three] for three in (x, y, light))
    left, top = (max(int(_least(values).min()) // _SUBPIXELS, 0) for values in (x, y))
    right, bottom = (
        min(int(_most(values).max()) // _SUBPIXELS + 1, int(limit) // _SUBPIXELS)
        for values, limit in zip((x, y), limits)
    )
    x, y = [values - left * _SUBPIXELS for values in x], [values - top * _SUBPIXELS for values in y]
    extent = ((bottom - top) * _SUBPIXELS, (right - left) * _SUBPIXELS)
    number = _nearest(np.stack([np.stack(x, 1), np.stack(y, 1)], -1), extent)
    fine = _plain(triangles, colour)[np.concatenate([[0], seen % len(triangles) + 1])][number]
    patch = cv2.resize(
        fine.view(np.uint8).reshape(*extent, 4), (right - left, bottom - top), interpolation=cv2.INTER_AREA
    )
    edge = (patch[..., 3] > 0) & (patch[..., 3] < 255)
    patch[edge, :3] = (patch[edge, :3] * (255 / patch[edge, 3:])).round().clip(0, 255)
    shade = np.repeat(_light_map(x, y, light, number[::_SUBPIXELS, ::_SUBPIXELS]), 3).reshape(*patch.shape[:2], 3)
    patch[..., :3] = (patch[..., :3] * shade + np.uint16(127)) >> np.uint16(8)
    return patch, top, left


def _light_map(x: list[np.ndarray], y: list[np.ndarray], light: list[np.ndarray], number: np.ndarray) -> np.ndarray:
    """Brightness (h,w) uint16, 256 for all light, of the triangles whose ``number`` (h,w) stands at the first sub-pixel
    of each pixel: linear between those of their corners. A pixel without has the most of those around it."""
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    first, second = light[1] - light[0], light[2] - light[0]
    across = (first * (y[2] - y[0]) - second * (y[1] - y[0])) / area
    down = (second * (x[1] - x[0]) - first * (x[2] - x[0])) / area
    rows, columns = np.nonzero(number)
    face = number[rows, columns] - 1
    values = (light[0] - across * x[0] - down * y[0])[face]
    values += across[face] * (columns * _SUBPIXELS) + down[face] * (rows * _SUBPIXELS)
    shades = np.zeros(number.shape, np.float32)
    shades[rows, columns] = np.clip(values, _least(light)[face], _most(light)[face])
    around = cv2.dilate(shades, np.ones((3, 3), np.uint8))
    return (np.where(number > 0, shades, around) * 256).round().astype(np.uint16)


def _least(three: Sequence[np.ndarray]) -> np.ndarray:
    return np.minimum(np.minimum(three[0], three[1]), three[2])


def _most(three: Sequence[np.ndarray]) -> np.ndarray:
    return np.maximum(np.maximum(three[0], three[1]), three[2])


def _plain(triangles: np.ndarray, colour: Colour | Tensor) -> np.ndarray:
    """Colours (1+F,) of faces (F,3) without light, RGBA in 32 bits, after one that is transparent."""
    rgba = np.zeros((len(triangles) + 1, 4), np.uint8)
    rgba[1:, 3] = 255
    if isinstance(colour, Tensor):
        corners = colour.detach().float().cpu().numpy()[triangles.T]
        rgba[1:, :3] = (corners.mean(0) * 255).round().clip(0, 255)
    else:
        rgba[1:, :3] = np.round(np.array(colour) * 255)
    return rgba.view(np.uint32)[:, 0]


def _brightness(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Brightness (B,V), 1 in full light, of vertices (B,V,3), from the normals of the faces about each."""
    light = np.array(_LIGHT, np.float32) / np.float32(np.linalg.norm(_LIGHT))
    a, b, c = (points[:, triangles[:, corner]] for corner in range(3))
    first, second = b - a, c - a
    normals = np.stack(
        [
            first[..., 1] * second[..., 2] - first[..., 2] * second[..., 1],
            first[..., 2] * second[..., 0] - first[..., 0] * second[..., 2],
            first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0],
        ],
        -1,
    )
    places, starts, there = _fans(triangles.tobytes(), points.shape[1])
    fans = np.add.reduceat(normals[:, places], starts, axis=1)
    cosine = np.zeros(points.shape[:2], np.float32)
    cosine[:, there] = (fans @ light) / np.maximum(np.sqrt(np.einsum("bvi,bvi->bv", fans, fans)), 1e-12)
    return _AMBIENT + (1 - _AMBIENT) * cosine.clip(0)


@lru_cache(maxsize=2)
def _fans(triangles: bytes, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The faces about each vertex: their numbers, one vertex after the other, where those of each begin, and the
    vertices that have some. The same for all pictures of one body."""
    corners = np.frombuffer(triangles, np.int64)
    order = np.argsort(corners, kind="stable")
    amounts = np.bincount(corners, minlength=count)
    there = np.flatnonzero(amounts)
    return order // 3, (np.cumsum(amounts) - amounts)[there], there


def _nearest(corners: np.ndarray, extent: tuple[int, int]) -> np.ndarray:
    """Triangles (T,3,2) in sub-pixels, from the farthest to the nearest → (height, width) int32: the number of the one
    that is seen, counted from 1; 0 where none is."""
    height, width = extent
    canvas = np.zeros(height * width, np.int32)
    y_of = [corners[:, corner, 1] for corner in range(3)]
    first = np.maximum(np.ceil(_least(y_of) - _SLACK), 0).astype(np.int64)
    last = np.minimum(np.floor(_most(y_of) + _SLACK), height - 1).astype(np.int64)
    rows = (last - first + 1).clip(0)
    for start, stop in _parts(rows):
        part = slice(start, stop)
        owner = np.repeat(np.arange(start + 1, stop + 1, dtype=np.int32), rows[part])
        y = _counted(rows[part]) + np.repeat(first[part], rows[part])
        left, right = _runs(corners[part], rows[part], y)
        x0 = np.maximum(np.ceil(left - _SLACK), 0).astype(np.int64)
        lengths = (np.minimum(np.floor(right + _SLACK), width - 1).astype(np.int64) - x0 + 1).clip(0)
        places = _counted(lengths) + np.repeat(y * width + x0, lengths)
        canvas[places] = np.repeat(owner, lengths)  # of several the last one stays
    return canvas.reshape(height, width)


def _runs(corners: np.ndarray, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each row ``y`` (R,), ``rows`` (T,) of each triangle (T,3,2), enters and leaves its triangle: two edges in
    sub-pixels (R,)."""
    left, right = np.full(len(y), -np.inf), np.full(len(y), np.inf)
    for number in range(3):
        start, end = corners[:, number].astype(np.float64), corners[:, (number + 1) % 3].astype(np.float64)
        down = end[:, 1] - start[:, 1]
        slope = np.divide(end[:, 0] - start[:, 0], down, out=np.zeros_like(down), where=down != 0)
        base, along = start[:, 0] - slope * start[:, 1], np.repeat(slope, rows) * y
        np.maximum(left, np.repeat(np.where(down > 0, base, -np.inf), rows) + along, out=left)
        np.minimum(right, np.repeat(np.where(down < 0, base, np.inf), rows) + along, out=right)
    return left, right


def _counted(lengths: np.ndarray) -> np.ndarray:
    """0 … n−1 for each n of ``lengths``, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _parts(rows: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of triangles with about ``_MOST_RUNS`` rows each, so that a crowd needs no more memory than a few."""
    part = np.cumsum(rows) // _MOST_RUNS
    starts = [0, *(np.flatnonzero(part[1:] != part[:-1]) + 1).tolist()]
    return list(zip(starts, [*starts[1:], len(rows)], strict=True))


_PICTURE_PX = 1024
_SIDE_VIEWS = 4
_SIDE_PX = 512
_SIDE_DISTANCE = 6.0
_PERSON_M = 1.15
_GREY = 236


def overlay(
    image: np.ndarray,
    vertices: Tensor,
    faces: Tensor,
    K: Tensor,
    colour: Colour | Tensor = BODY_COLOUR,
    opacity: float = 0.9,
) -> np.ndarray:
    """Bodies (B,V,3) or one (V,3), where they stand in camera axes, over an image (H,W,3) uint8 RGB with K (3,3); the
    nearer body hides the farther."""
    people = vertices if vertices.dim() == 3 else vertices[None]
    patch, top, left = _painted(people, faces, K, (image.shape[0], image.shape[1]), colour)
    picture, rectangle = image.copy(), np.s_[top : top + patch.shape[0], left : left + patch.shape[1]]
    picture[rectangle] = lay_over(picture[rectangle], patch, opacity)
    return picture


def side_view(
    vertices: Tensor,
    faces: Tensor,
    size: int,
    colour: Colour | Tensor = BODY_COLOUR,
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
    predicted: Tensor, true: Tensor, body: Body, size: int, *, known: Sequence[bool] | None = None
) -> list[np.ndarray]:
    """Predicted over true meshes (B,V,3) of ``body``, in camera axes about the pelvis, from the side and at one scale →
    B pictures (size,size,3) uint8 RGB. ``known``: whose true mesh is one; the others are left out."""
    pictures = [np.full((size, size, 3), _GREY, np.uint8) for _ in range(len(predicted))]
    behind = side_view(true, body.faces, size, suit_colours(body, TRUE_COLOUR), reach=_PERSON_M)
    before = side_view(predicted, body.faces, size, suit_colours(body), reach=_PERSON_M)
    for i, picture in enumerate(pictures):
        is_known = known is None or known[i]
        if is_known:
            picture = lay_over(picture, behind[i], 1.0)
        pictures[i] = lay_over(picture, before[i], 0.75 if is_known else 1.0)
    return pictures


def overlay_picture(image: np.ndarray, vertices: Tensor, body: Body, K: Tensor) -> np.ndarray:
    """Vertices (B,V,3) of ``body`` where they stand, over the image (H,W,3) uint8 RGB with its K (3,3), and to the
    right of it each of the first four from its side → (h,w,3) uint8, at most 1024 px high and wide before the side
    views."""
    suit = suit_colours(body)
    scale = min(1.0, _PICTURE_PX / max(image.shape[:2]))
    width, height = (max(1, round(edge * scale)) for edge in (image.shape[1], image.shape[0]))
    front = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # Pixel centres lie at +0.5, so that a smaller picture scales all of K.
    smaller = torch.diag(torch.tensor([width / image.shape[1], height / image.shape[0], 1.0])) @ K.cpu()
    front = overlay(front, vertices, body.faces, smaller, suit)
    edge = max(1, min(height // min(len(vertices), _SIDE_VIEWS), _SIDE_PX))
    centred = vertices[:_SIDE_VIEWS].cpu()
    centred = centred - (centred.amin(1, keepdim=True) + centred.amax(1, keepdim=True)) / 2
    column = np.full((height, edge, 3), 255, np.uint8)
    sides = np.concatenate(list(side_view(centred, body.faces, edge, suit)))[:height]
    column[: len(sides)] = lay_over(column[: len(sides)], sides, 1.0)
    return np.concatenate([front, column], 1)
