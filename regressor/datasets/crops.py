"""From a whole photograph and a box to the crop a regressor sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tokenizer.engine.errors import fail

from .warp import Framing, warp


def read_image(path: str | Path) -> np.ndarray:
    """An image file, turned as its EXIF says → (H,W,3) uint8 RGB. Raises ``UserError`` for a file that is none."""
    path = Path(path)
    if not path.is_file():
        raise fail(f"No image at {path}", next_step="Check the path")
    return decode_image(path.read_bytes(), str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """``read_image`` of bytes that were read already; ``name`` is what messages call them."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise fail(f"{name} is no image", expected="a JPEG, PNG or other picture OpenCV reads")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


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
