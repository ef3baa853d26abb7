"""Pictures of crops: enlarged, and saved as files of their own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from regressor.datasets.crop_dataset import open_crops
from regressor.export.mesh import write_image
from regressor.geometry.camera import square_box
from tokenizer.engine.errors import fail


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 image at ``size`` px."""
    larger: np.ndarray = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    return larger


def save_test_person(crops: Path, out: Path, number: int, size: int = 480) -> None:
    """Write test image ``number`` of a crop store as a PNG of ``size`` px that the person fills.

    Crops have a margin around the person; a predictor that is given the whole picture adds it again. Raises
    ``UserError`` for a number that is not there.
    """
    store = open_crops(crops)
    count = store.count("test")
    if not 0 <= number < count:
        raise fail(f"{crops} has no test image {number}", expected=f"0 to {count - 1}")
    image = store.sample(np.array([number]), "test")["image"][0].permute(1, 2, 0).numpy()
    left, _, right, _ = square_box(torch.tensor([0.0, 0.0, 1.0, 1.0])).tolist()
    edge = round((1 - 1 / (right - left)) / 2 * len(image))
    inner = enlarge(np.ascontiguousarray(image[edge : len(image) - edge, edge : len(image) - edge]), size)
    write_image(out, inner)
