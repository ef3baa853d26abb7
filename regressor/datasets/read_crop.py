"""From the bytes of an image file straight to a crop: no more is decoded, converted or resampled than needed."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from tokenizer.engine.errors import fail

from .image_header import image_header
from .jpeg_header import jpeg_header
from .warp import Framing, scale_of, warp

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
