"""The crops TokenHMR was trained and published with, to reproduce its figures; not those this project makes.

They differ from ``crops.cut_crop`` of ``camera.prediction_box`` in three ways; what they show of an image is the same:

- no antialiasing: a box of 700 px is sampled at every 2.7th pixel (here: averaged over areas);
- integer coordinates mean pixel centres, and the crop's middle is the centre of pixel 128 of 256: its content lies half
  a crop pixel beside what its keypoints say (here: pixel centres at +0.5, no offset);
- black beyond the image (here: the edge goes on).
"""

from __future__ import annotations

import numpy as np

from regressor.config import VIT_ASPECT
from regressor.datasets.cropping import Framing, warp


def reference_side(width: float, height: float, aspect: float = VIT_ASPECT) -> float:
    """Side in pixels of the square crop of a box: the box widened to ``aspect``, then its longer side; no margin."""
    return max(height, width / aspect)


def reference_framing(centre: tuple[float, float], side: float, size: int = 256) -> Framing:
    """What the crop around ``centre``, in whole-number pixel centres, shows, in the pixels of this project."""
    half = side / 2
    offset = 0.5 - 0.5 * side / size
    x, y = centre[0] + offset, centre[1] + offset
    return Framing((x - half, y - half, x + half, y + half))


def reference_crop(image: np.ndarray, centre: tuple[float, float], side: float, size: int = 256) -> np.ndarray:
    """The published crop of an image (H,W,C) uint8: ``side`` pixels about ``centre`` → (size,size,C) uint8.

    Raises ``UserError`` as ``warp`` does.
    """
    matrix = reference_framing(centre, side, size).image_from_crop(size)
    return warp(image, matrix, size, antialias=False, outside="black")
