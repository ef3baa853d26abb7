"""Pictures for a page: bodies from the front, crops, data URIs."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from regressor.camera import intrinsics, square_box
from regressor.datasets.store import open_crops
from regressor.export import write_image
from regressor.overlay import paint
from tokenizer import Body
from tokenizer.engine.errors import fail

TRUTH = (0.16, 0.56, 0.60)
"""RGB of what is true; predictions have the colour of ``regressor.overlay``."""
Colour = tuple[float, float, float]
_DISTANCE = 4.0


@torch.no_grad()
def figures(
    body: Body, rotations: Tensor, size: tuple[int, int], colour: Colour, *, yaw_deg: float = 25.0
) -> np.ndarray:
    """Poses (B,21,3,3) of the average person, seen from the front turned by ``yaw_deg`` → (B,H,W,4) uint8 RGBA.

    The view is the same for all, so that pictures of one pose before and after a change can be compared.
    """
    angle = math.radians(yaw_deg)
    turn = torch.tensor([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    to_camera = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ turn
    vertices = body.vertices(rotations, root=to_camera)
    pelvis = body.joints(rotations, root=to_camera)[:, :1]
    vertices = vertices - pelvis + vertices.new_tensor([0.0, 0.0, _DISTANCE])
    focal = torch.tensor(size[0] / 2.05 * _DISTANCE)
    K = intrinsics(focal, size[1], size[0]).expand(len(vertices), 3, 3)
    return paint(vertices, body.faces, K, size, colour)


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """A square uint8 image at ``size`` px."""
    larger: np.ndarray = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    return larger


def data_uri(image: np.ndarray) -> str:
    """An image (H,W,3) as JPEG or (H,W,4) as PNG, uint8 RGB(A), in a ``data:`` address."""
    if image.shape[-1] == 4:
        kind, order, options = "png", cv2.COLOR_RGBA2BGRA, [cv2.IMWRITE_PNG_COMPRESSION, 9]
    else:
        kind, order, options = "jpeg", cv2.COLOR_RGB2BGR, [cv2.IMWRITE_JPEG_QUALITY, 86]
    _, encoded = cv2.imencode(f".{kind}", cv2.cvtColor(image, order), options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


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
