"""Bodies painted over pictures, and beside them from the side."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer.body.camera import intrinsics
from tokenizer.body.figures import BODY_COLOUR, Colour, lay_over, paint
from tokenizer.body.skeleton import NUM_JOINTS, PARENTS

_SIDE_DISTANCE = 4.0


def overlay(
    image: np.ndarray, vertices: Tensor, faces: Tensor, K: Tensor,
    colour: Colour = BODY_COLOUR, opacity: float = 0.9,
) -> np.ndarray:  # fmt: skip
    """Bodies (B,V,3) or one (V,3), where they stand in camera axes, over an image (H,W,3) uint8 RGB with K (3,3); the
    nearer body hides the farther."""
    people = vertices if vertices.dim() == 3 else vertices[None]
    count = people.shape[1]
    together = torch.cat([faces + number * count for number in range(len(people))])
    painted = paint(people.reshape(1, -1, 3), together, K[None], (image.shape[0], image.shape[1]), colour)
    return lay_over(image, painted[0], opacity)


def side_view(vertices: Tensor, faces: Tensor, size: int, colour: Colour = BODY_COLOUR) -> np.ndarray:
    """One body (V,3) in camera axes, seen from its right side of the picture, on white → (size,size,3) uint8 RGB."""
    centre = (vertices.amin(0) + vertices.amax(0)) / 2
    turn = vertices.new_tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    moved = (vertices - centre) @ turn.T + vertices.new_tensor([0, 0, _SIDE_DISTANCE])
    reach = float((vertices - centre).abs().max())
    K = intrinsics(torch.tensor(size * 0.46 * (_SIDE_DISTANCE - reach) / max(reach, 1e-6)), size, size)
    painted = paint(moved[None], faces, K[None].to(vertices), (size, size), colour)
    return lay_over(np.full((size, size, 3), 255, np.uint8), painted[0], 1.0)


def draw_skeleton(image: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The bones of projected joints (24,2), pixels, drawn on a copy of an image (H,W,3) uint8 RGB."""
    drawn = np.ascontiguousarray(image).copy()
    shift = 4
    points = np.round((joints - 0.5) * (1 << shift)).astype(int)
    thickness = max(1, math.ceil(len(image) / 160))
    for joint in range(1, NUM_JOINTS):
        ends = (points[PARENTS[joint]].tolist(), points[joint].tolist())
        cv2.line(drawn, ends[0], ends[1], (255, 255, 0), thickness, cv2.LINE_AA, shift)
    return drawn
