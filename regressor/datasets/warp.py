"""The one resampling of crops: any framing of an image, shrunk without aliasing, in one pass over what it needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from tokenizer.engine.errors import fail

_EDGE_PX = 1e-6
"""Region edges this close to a whole pixel are that pixel: a box of whole pixels must not gain a row by rounding."""


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
            raise fail("A box has no area", got=",".join(f"{value:g}" for value in self.box),
                       expected="finite x0 < x1 and y0 < y1, in pixels")  # fmt: skip
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
    image: np.ndarray, image_from_crop: np.ndarray, size: int, *, antialias: bool = True,
    outside: Literal["edge", "black"] = "edge",
) -> np.ndarray:  # fmt: skip
    """An image (H,W) or (H,W,C) uint8 seen through a map (2,3) of pixel indices → (size,size[,C]) uint8.

    Enlarged bilinearly. Where it shrinks, the part in view is first averaged over areas as large as a pixel of the
    crop, so that nothing finer is left to alias; ``antialias=False`` samples bilinearly whatever the scale, and then
    what lies between samples is lost. Beyond the image its edge goes on, or all is black. Raises ``UserError`` for a
    crop that shows nothing of the image.
    """
    height, width = image.shape[:2]
    low, high = _seen(image_from_crop, size)
    if low[0] >= width or low[1] >= height or (high <= 0).any():
        raise fail("A crop lies outside its image", got=",".join(f"{value:.6g}" for value in (*low, *high)),
                   expected=f"within 0,0,{width},{height}")  # fmt: skip
    return resample(image, image_from_crop, size, antialias=antialias, outside=outside)


def resample(
    image: np.ndarray, image_from_crop: np.ndarray, size: int, *, antialias: bool = True,
    outside: Literal["edge", "black"] = "edge",
) -> np.ndarray:  # fmt: skip
    """``warp`` of any place: wholly beyond the image, too, its edge goes on, or all is black."""
    height, width = image.shape[:2]
    scale = scale_of(image_from_crop)
    matrix = image_from_crop
    if antialias and scale > 1:
        # All of one crop pixel's area is inside the region; neighbours beyond it hardly count.
        low, high = _seen(image_from_crop, size)
        x0, y0 = np.clip(low, 0, (width - 1, height - 1)).astype(int)
        x1, y1 = np.clip(high, (x0 + 1, y0 + 1), (width, height)).astype(int)
        region = image[y0:y1, x0:x1]
        reduced = np.maximum(np.round(np.array([x1 - x0, y1 - y0]) / scale), 1).astype(int)
        image = cv2.resize(region, tuple(reduced.tolist()), interpolation=cv2.INTER_AREA)
        ratio = reduced / np.array([x1 - x0, y1 - y0])
        matrix = matrix * ratio[:, None]
        matrix[:, 2] = (image_from_crop[:, 2] + 0.5 - (x0, y0)) * ratio - 0.5
        if image.shape[:2] == (size, size) and np.allclose(matrix, np.eye(2, 3), atol=1e-4):
            return image
    border = cv2.BORDER_REPLICATE if outside == "edge" else cv2.BORDER_CONSTANT
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)


def _seen(image_from_crop: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last x, y (2,) of the whole pixels around what a crop shows; not cut off at the image's edges."""
    corners = np.array([[x, y, 1] for x in (-0.5, size - 0.5) for y in (-0.5, size - 0.5)]) @ image_from_crop.T + 0.5
    return np.floor(corners.min(0) + _EDGE_PX), np.ceil(corners.max(0) - _EDGE_PX)
