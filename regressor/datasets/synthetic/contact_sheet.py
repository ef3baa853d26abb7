"""Samples at a glance: a grid of crops, every other one with its projected keypoints."""

from __future__ import annotations

import cv2
import numpy as np

from tokenizer.body.skeleton import KEYPOINT_NAMES

from ...sample import Sample

_LEFT, _RIGHT, _MIDDLE = (255, 170, 0), (0, 200, 255), (255, 255, 255)


def contact_sheet(sample: Sample, *, columns: int = 8, size: int = 160) -> np.ndarray:
    """Crops of a sample in a grid of squares of ``size`` px → (H,W,3) uint8 RGB; left is orange, right blue."""
    tiles = []
    for number, (image, keypoints) in enumerate(zip(sample["image"], sample["keypoints_2d"], strict=True)):
        tile = cv2.resize(image.permute(1, 2, 0).numpy(), (size, size), interpolation=cv2.INTER_CUBIC)
        if number % 2:
            draw_keypoints(tile, keypoints.numpy())
        tiles.append(tile)
    tiles += [np.full((size, size, 3), 255, np.uint8)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def draw_keypoints(image: np.ndarray, keypoints: np.ndarray) -> None:
    """Dots on a square image (S,S,3) uint8 RGB, in place, at keypoints (44,3) in crop units and coloured by side; those
    without confidence are left out."""
    shift = 4
    for name, (x, y, confidence) in zip(KEYPOINT_NAMES, keypoints, strict=True):
        if confidence > 0 and max(abs(x), abs(y)) <= 1:
            colour = _LEFT if "left_" in name else _RIGHT if "right_" in name else _MIDDLE
            place = [round(float((value + 0.5) * len(image) - 0.5) * (1 << shift)) for value in (x, y)]
            cv2.circle(image, (place[0], place[1]), 2 << shift, colour, -1, cv2.LINE_AA, shift)
