"""From the JPEG of a person in a shard to a crop, with all augmentation, in one resampling."""

from __future__ import annotations

import cv2
import numpy as np

from tokenizer.engine.errors import fail

from .jpeg_header import jpeg_header
from .read_crop import decode_as_needed
from .shard_file import REMEDY
from .warp import Framing, resample


def crop_stored(jpeg: bytes, stored: np.ndarray, framing: Framing, size: int) -> np.ndarray:
    """What ``framing`` shows of a photograph, from the JPEG of its rectangle ``stored`` → (size,size,3) uint8 RGB.

    ``stored`` (4,) x0,y0,x1,y1 and ``framing`` are in pixels of the photograph; the JPEG may be shrunk. The crop is
    that of ``warp`` of the photograph as far as the JPEG goes in detail and in extent: enlarged bilinearly, shrunk
    without aliasing, and beyond what is stored its edge goes on, however far away the frame is. A JPEG that is much
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
