"""Where the pixels of a crop come from, whatever it is to show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch import Tensor

from .warp import Framing, resample

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
