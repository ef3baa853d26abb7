"""Where the pixels of a crop come from, whatever it is to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from .warp import Framing, resample

PictureOf = Callable[[int, Framing], np.ndarray]
"""(number of a sample, what its crop is to show) → the crop (S,S,3) uint8 RGB."""


def own_pictures(images: Tensor) -> PictureOf:
    """Crops of crops: ``images`` (B,3,S,S) uint8 show the boxes of framings."""
    rows = images.permute(0, 2, 3, 1).contiguous().numpy()
    size = rows.shape[1]

    def picture(number: int, framing: Framing) -> np.ndarray:
        return resample(rows[number], replace(framing, box=(0, 0, size, size)).image_from_crop(size), size)

    return picture
