"""From a whole photograph and a box to the crop a regressor sees."""

from __future__ import annotations

import numpy as np

from .image_files import decode_image, read_image
from .warp import Framing, warp

__all__ = ["cut_crop", "decode_image", "read_image", "whole_pixel_box"]


def whole_pixel_box(box: np.ndarray) -> np.ndarray:
    """The nearest square of whole pixels to a square box (4,), at least one pixel wide."""
    side = max(1.0, float(np.round(box[2] - box[0])))
    corner = np.round((box[:2] + box[2:]) / 2 - side / 2)
    return np.concatenate([corner, corner + side])


def cut_crop(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The part of an image (H,W,3) under a square box (4,), resampled → (size,size,3) uint8.

    Shrunk by area averages, enlarged bilinearly; beyond the image its edge goes on: see ``warp``. Raises ``UserError``
    for a box without area and for one that shows nothing of the image.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    return warp(image, Framing((x0, y0, x1, y1)).image_from_crop(size), size)
