"""Pictures and their encoded bytes."""

from __future__ import annotations

import cv2
import numpy as np


def picture(width=60, height=40):
    """(H,W,3) uint8 RGB: a red square at the upper left, a blue one at the lower right, on light grey."""
    image = np.full((height, width, 3), 230, np.uint8)
    image[: height // 2, : width // 2] = (200, 20, 20)
    image[height // 2 :, width // 2 :] = (20, 20, 200)
    return image


def encoded(suffix, image, *options):
    return cv2.imencode(suffix, image[..., ::-1], list(options))[1].tobytes()
