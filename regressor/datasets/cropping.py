"""From an image or a stored margin to the crop that the network sees, in one resampling.

``cut_crop`` serves prediction, on an image in memory; ``crop_stored`` serves shards, in training and evaluation;
``own_pictures`` serves crop stores, whose images are crops already; ``read_crop`` cuts from the bytes of a JPEG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer.engine.errors import fail

from .image_header import image_header, jpeg_header
from .shard_file import REMEDY

_EDGE_PX = 1e-6
"""Region edges this close to a whole pixel are that pixel: a box of whole pixels must not gain a row by rounding."""

_MOST = 3.2
"""Pixels to a crop pixel's side that ``smooth`` can deal with."""


@dataclass(frozen=True)
class Framing:
    """What of an image a crop shows: ``box`` x0,y0,x1,y1 (pixels, square), then the changes of augmentation in order:
    ``mirror`` left and right about the box's middle, ``roll`` clockwise (radians), and a frame ``zoom`` times as large
    moved by ``shift`` (x, y) of the box, along the rolled axes. The meaning is that of ``augmentation.reframe``."""

    box: tuple[float, float, float, float]
    mirror: bool = False
    roll: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def image_from_crop(self, size: int) -> np.ndarray:
        """The map (2,3) float64 from pixel indices of the crop of ``size`` px to pixel indices of the image.

        Pixel i covers i … i+1 and has its centre at i + 0.5. Raises ``UserError`` for a box without area.
        """
        x0, y0, x1, y1 = self.box
        side = x1 - x0
        if not (math.isfinite(x0 + y0 + x1 + y1) and side > 0 and y1 > y0):
            raise fail(
                "A box has no area",
                got=",".join(f"{value:g}" for value in self.box),
                expected="finite x0 < x1 and y0 < y1, in pixels",
            )
        cosine, sine = math.cos(self.roll), math.sin(self.roll)
        back = np.array([[cosine, sine], [-sine, cosine]])
        if self.mirror:
            back[0] *= -1
        linear = back * (side * self.zoom / size)
        middle = np.array([x0 + x1, y0 + y1]) / 2 - 0.5
        offset = middle + side * back @ np.array(self.shift) - linear @ np.full(2, size / 2 - 0.5)
        return np.concatenate([linear, offset[:, None]], 1)


def scale_of(image_from_crop: np.ndarray) -> float:
    """How many pixels of the image one pixel of the crop covers along a side; above 1 the crop shrinks the image."""
    return math.sqrt(abs(float(np.linalg.det(image_from_crop[:, :2]))))


def warp(
    image: np.ndarray,
    image_from_crop: np.ndarray,
    size: int,
    *,
    antialias: bool = True,
    outside: Literal["edge", "black"] = "edge",
) -> np.ndarray:
    """An image (H,W) or (H,W,C) uint8 seen through a map (2,3) of pixel indices → (size,size[,C]) uint8.

    Enlarged bilinearly. Where it shrinks, the part in view is first averaged, so that hardly more than an average over
    the area of a crop pixel would leave is left to alias, see ``smooth``; ``antialias=False`` samples bilinearly
    whatever the scale, and then what lies between samples is lost. Beyond the image: its edge repeated, or black.
    Raises ``UserError`` for a crop that shows nothing of the image.
    """
    height, width = image.shape[:2]
    low, high = _seen(image_from_crop, size)
    if low[0] >= width or low[1] >= height or (high <= 0).any():
        raise fail(
            "A crop lies outside its image",
            got=",".join(f"{value:.6g}" for value in (*low, *high)),
            expected=f"within 0,0,{width},{height}",
        )
    return resample(image, image_from_crop, size, antialias=antialias, outside=outside)


def resample(
    image: np.ndarray,
    image_from_crop: np.ndarray,
    size: int,
    *,
    antialias: bool = True,
    outside: Literal["edge", "black"] = "edge",
) -> np.ndarray:
    """``warp`` of any place: wholly beyond the image, too, its edge is repeated, or all is black."""
    matrix, scale = image_from_crop, scale_of(image_from_crop)
    low, high = (np.round(end).astype(int) for end in _seen(matrix, size))
    if antialias and scale > 1:
        axis_aligned = np.concatenate([np.diag((high - low) / size), ((high - low) / size / 2 + low - 0.5)[:, None]], 1)
        if (low >= 0).all() and (high <= image.shape[1::-1]).all() and np.allclose(matrix, axis_aligned, atol=1e-4):
            # Upright, and of whole pixels: averages over areas are all there is to do.
            return cv2.resize(image[low[1] : high[1], low[0] : high[0]], (size, size), interpolation=cv2.INTER_AREA)
    image, matrix = _reduced(image, matrix, low, high, math.ceil(scale / _MOST) if antialias else 1)
    if antialias:
        image = smooth(image, scale_of(matrix))
    three = image.ndim == 3 and image.shape[2] == 3
    if three:  # pixels of four bytes are sampled in half the time
        image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    border = cv2.BORDER_REPLICATE if outside == "edge" else cv2.BORDER_CONSTANT
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=border)
    return cv2.cvtColor(crop, cv2.COLOR_BGRA2BGR) if three else crop


def smooth(image: np.ndarray, scale: float) -> np.ndarray:
    """An image uint8 without what would alias, sampled bilinearly at every ``scale``-th pixel, up to ``_MOST``.

    Weights (a, 1 − 2a, a) along both axes, a = (scale − 1) / 4 up to 0.32, were fitted: together with the bilinear
    kernel they come close to averages over the area of a crop pixel, and pass no more of what is too fine.
    """
    side = round(min((scale - 1) / 4, 0.32) * 256)  # OpenCV counts in these parts: one colour then stays one colour
    if side < 1:
        return image
    weights = np.array([side, 256 - 2 * side, side]) / 256
    return cv2.sepFilter2D(image, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)


def _reduced(
    image: np.ndarray, image_from_crop: np.ndarray, low: np.ndarray, high: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """What a crop needs of an image, pixels ``low`` to ``high`` (2,), in averages over square blocks, ``factor`` pixels
    to their side; and the crop's map to that."""
    height, width = image.shape[:2]
    # A margin for the neighbours that smoothing and interpolation look at.
    x0, y0 = np.clip(low - factor, 0, (width - 1, height - 1))
    x1, y1 = np.clip(high + factor, (x0 + 1, y0 + 1), (width, height))
    image = image[y0:y1, x0:x1]
    if factor > 1:
        right, below = -(x1 - x0) % factor, -(y1 - y0) % factor
        if right or below:
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        image = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    matrix = image_from_crop / factor
    matrix[:, 2] = (image_from_crop[:, 2] + 0.5 - (x0, y0)) / factor - 0.5
    return image, matrix


def _seen(image_from_crop: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last x, y (2,) of the whole pixels around what a crop shows; not cut off at the image's edges."""
    corners = np.array([[x, y, 1] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)]) @ image_from_crop.T + 0.5
    return np.floor(corners.min(0) + _EDGE_PX), np.ceil(corners.max(0) - _EDGE_PX)


def whole_pixel_box(box: np.ndarray) -> np.ndarray:
    """The nearest square of whole pixels to a square box (4,), at least one pixel wide."""
    side = max(1.0, float(np.round(box[2] - box[0])))
    corner = np.round((box[:2] + box[2:]) / 2 - side / 2)
    return np.concatenate([corner, corner + side])


def cut_crop(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The part of an image (H,W,3) under a square box (4,), resampled → (size,size,3) uint8.

    Shrunk by area averages, enlarged bilinearly; its edge is repeated beyond the image: see ``warp``. Raise
    ``UserError`` for a box without area and for one that shows nothing of the image.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    return warp(image, Framing((x0, y0, x1, y1)).image_from_crop(size), size)


_REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def read_crop(
    data: bytes, framing: Framing, size: int, *, outside: Literal["edge", "black"] = "edge", where: str = "An image"
) -> np.ndarray:
    """The crop (size,size,3) uint8 RGB of a JPEG, PNG or other picture, turned as its EXIF says.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the crop is as coarse. All augmentation in ``framing`` is one
    resampling. Raises ``UserError`` for bytes that are no image, a box without area or one that shows nothing of the
    image.
    """
    image_header(data, where)  # of a size that can be decoded
    image, matrix = decode_as_needed(data, framing.image_from_crop(size))
    if image is None:
        raise fail(f"{where} cannot be read", expected="a JPEG, PNG or other picture OpenCV reads")
    return cv2.cvtColor(warp(image, matrix, size, outside=outside), cv2.COLOR_BGR2RGB)


def decode_as_needed(data: bytes, image_from_crop: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """A picture (H,W,3) uint8 BGR no finer than a crop needs, None if it is none, and the crop's map (2,3) to it.

    ``image_from_crop`` is the map to the picture at its full size. At reduced size libjpeg computes fewer frequencies
    of each block, which is an average over areas.
    """
    reduction = _reduction(data, scale_of(image_from_crop))
    try:
        flags = _REDUCED.get(reduction, cv2.IMREAD_COLOR)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    matrix = image_from_crop / reduction
    matrix[:, 2] = (image_from_crop[:, 2] + 0.5) / reduction - 0.5
    return image, matrix


def _reduction(data: bytes, scale: float) -> int:
    """The largest of 8, 4, 2, 1 that leaves at least one decoded pixel to a pixel of the crop.

    Pictures with EXIF are read whole: turned by it, the remainder of a size that 8 does not divide would lie at the
    other side. Other formats have no such short cut.
    """
    header = jpeg_header(data)
    if header is None or header.exif:
        return 1
    return next((reduction for reduction in _REDUCED if reduction <= scale), 1)


def crop_stored(jpeg: bytes, stored: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """What ``framing`` shows of a photograph, from the JPEG of its rectangle ``stored`` → (size,size,3) uint8 RGB.

    ``stored`` (4,) x0,y0,x1,y1 and ``framing`` are in pixels of the photograph; the JPEG may be shrunk. The crop is
    that of ``warp`` of the photograph as far as the JPEG goes in detail and in extent: enlarged bilinearly, shrunk
    without aliasing, and beyond what is stored its edge is repeated, however far away the frame is. A JPEG that is much
    finer than the crop is decoded at reduced size. Raises ``UserError`` for bytes that are no JPEG, and a box without
    area.
    """
    header = jpeg_header(jpeg)
    extent = np.asarray(stored[2:] - stored[:2], dtype=np.float64)
    matrix = framing.image_from_crop(size)
    image = None
    if header is not None:
        # Pixel i has its centre at i + 0.5, in the photograph and in what is stored of it.
        ratio = np.array([header.width, header.height]) / extent
        matrix[:, 2] = (matrix[:, 2] + 0.5 - stored[:2]) * ratio - 0.5
        matrix[:, :2] *= ratio[:, None]
        image, matrix = decode_as_needed(jpeg, matrix)
    if image is None:
        raise fail("A stored crop is no JPEG", next_step=REMEDY)
    return cv2.cvtColor(resample(image, matrix, size), cv2.COLOR_BGR2RGB)


PictureOf = Callable[[int, Framing], np.ndarray]
"""(number of a sample, what its crop is to show) → the crop (S,S,3) uint8 RGB."""


def own_pictures(images: Tensor) -> PictureOf:
    """Crops of crops: ``images`` (B,3,S,S) uint8 show the boxes of framings."""
    size = images.shape[-1]

    def picture(number: int, framing: Framing) -> np.ndarray:
        image = np.ascontiguousarray(images[number].permute(1, 2, 0).numpy())
        return resample(image, replace(framing, box=(0, 0, size, size)).image_from_crop(size), size)

    return picture


def as_images(crops: Iterable[np.ndarray], count: int) -> Tensor:
    """``count`` crops (S,S,3) uint8, made one by one → (B,3,S,S). Nothing as large as a batch is ever copied."""
    images = torch.empty(count, 3, 0, 0, dtype=torch.uint8)
    for number, crop in enumerate(crops):
        if not number:
            images = torch.empty(count, 3, *crop.shape[:2], dtype=torch.uint8)
        if crop.shape[:2] != images.shape[2:]:
            raise ValueError("crops of several sizes")  # into planes of another size OpenCV would not write
        cv2.split(crop, list(images[number].numpy()))
    return images
