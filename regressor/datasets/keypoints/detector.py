"""A simulated detector of people: true points in, points with a detector's errors out.

Errors come together as in real detectors: a hand or a foot errs as a whole, unsure points err more, hidden limbs are
guessed or missing, the trunk of the 3D landmarks leans, and depth is their weak side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.skeleton import mirror_permutation

from ...config import SimulationConfig
from .views import Draw

NUM_POINTS = len(DETECTOR_POINTS)
_OUTLIER = 0.12
_TOGETHER, _ALONE = 1.4, 0.5
"""Of the error of a hand or foot: what its points share, and what is left of their own."""
_BONE_ERROR = (0.012, 0.012, 0.06)
_POINT_ERROR = (0.018, 0.018, 0.03)
_TRUNK_ERROR = (0.01, 0.01, 0.05)
_TURN_DEG = 5.0
_SLACK = 0.02


def _rows(*names: str) -> list[int]:
    return [DETECTOR_POINTS.index(name) for name in names]


_LIMBS = {
    (side, end): tuple(_rows(*(f"{side}_{part}" for part in parts)))
    for side in ("left", "right")
    for end, parts in (
        ("arm", ("elbow", "wrist", "pinky", "index")),
        ("hand", ("wrist", "pinky", "index")),
        ("leg", ("knee", "ankle", "heel", "toes")),
        ("foot", ("ankle", "heel", "toes")),
    )
}
_LOWER_BODY = [*_LIMBS["left", "leg"], *_LIMBS["right", "leg"]]
_FEET = [*_LIMBS["left", "foot"], *_LIMBS["right", "foot"]]
_NOT_COCO = _rows(*(f"{side}_{part}" for side in ("left", "right") for part in ("pinky", "index", "heel", "toes")))
_TRUNK = [row for row in range(NUM_POINTS) if row < DETECTOR_POINTS.index("left_hip")]
_HIPS = _rows("left_hip", "right_hip")
HAS_HINT = torch.tensor([row not in _NOT_COCO for row in range(NUM_POINTS)])
"""(25,) bool: 3D landmarks of hands and feet are shrunken in real detectors, and are not used."""


def detect_points(rays: Tensor, inside: Tensor, config: SimulationConfig, draw: Draw) -> Tensor:
    """True points (B,25,2) in halves of the person's longer extent, inside the image or not (B,25) → (B,25,3): found
    points in the same units, and confidences, 0 where a point is not found."""
    count = len(rays)
    confidence = torch.sigmoid(1.5 * draw.normal(count, NUM_POINTS) + 3 + 0.7 * draw.normal(count, 1))
    confidence = _hide(confidence, config, draw)
    confidence = torch.where(inside, confidence, 0.3 * confidence * draw.share(0.3, count, NUM_POINTS))

    deviation = config.error + config.error_unsure * (1 - confidence) ** 1.5
    error = draw.normal(count, NUM_POINTS, 2) * deviation[..., None]
    for side in ("left", "right"):
        for end in ("hand", "foot"):
            rows = list(_LIMBS[side, end])
            shared = error[:, rows].mean(1, keepdim=True) * _TOGETHER
            error[:, rows] = _ALONE * error[:, rows] + shared
    outlier = draw.share(config.outliers, count, NUM_POINTS, 1)
    error = torch.where(outlier, _OUTLIER * draw.normal(count, NUM_POINTS, 2), error)
    points = _swap(rays + error, config, draw)

    missed = draw.share(config.dropped, count, NUM_POINTS)
    missed |= (confidence < 0.3) & draw.share(0.5, count, NUM_POINTS)
    coco = torch.zeros(NUM_POINTS, dtype=torch.bool)
    coco[_NOT_COCO] = True
    missed |= draw.share(config.coco, count, 1) & coco
    return torch.cat([points, confidence.masked_fill(missed, 0.0)[..., None]], -1)


def _hide(confidence: Tensor, config: SimulationConfig, draw: Draw) -> Tensor:
    """Lower the confidences of limbs that something hides, half of them to nothing."""
    count = len(confidence)

    def hide(rows: list[int] | tuple[int, ...], share: float, most: float) -> None:
        hidden = draw.share(share, count)
        guessed = most * draw.uniform(count, len(rows)) * draw.share(0.5, count, 1)
        confidence[:, list(rows)] = torch.where(hidden[:, None], guessed, confidence[:, list(rows)])

    hide(_LOWER_BODY, config.hidden_legs, 0.5)
    hide(_FEET, config.hidden_legs / 2, 0.5)
    for side in ("left", "right"):
        hide(_LIMBS[side, "arm"], config.hidden_limb, 0.6)
        hide(_LIMBS[side, "hand"], config.hidden_limb, 0.6)
        hide(_LIMBS[side, "leg"], config.hidden_limb, 0.6)
    return confidence


def _swap(points: Tensor, config: SimulationConfig, draw: Draw) -> Tensor:
    """Take a pair of limbs for each other."""
    mirror = torch.tensor(mirror_permutation(DETECTOR_POINTS))
    for end in ("arm", "leg"):
        rows = torch.zeros(NUM_POINTS, dtype=torch.bool)
        rows[[*_LIMBS["left", end], *_LIMBS["right", end]]] = True
        swapped = draw.share(config.swaps, len(points), 1) & rows
        points = torch.where(swapped[..., None], points[:, mirror], points)
    return points


def landmarks_3d(points: Tensor, confidence: Tensor, config: SimulationConfig, draw: Draw) -> tuple[Tensor, Tensor]:
    """True points (B,25,3) m in the axes of the viewing ray, and found confidences (B,25) → the detector's 3D landmarks
    (B,25,3) about the middle of the hips, and which it has (B,25) bool."""
    count = len(points)
    about = points - points[:, _HIPS].mean(1, keepdim=True)
    about = about * torch.exp(0.06 * draw.normal(count, 1, 1) - 0.05)
    badness = (0.2 + 0.8 * draw.uniform(count, 1, 1)) * config.hint_error
    error = draw.normal(count, NUM_POINTS, 3) * torch.tensor(_POINT_ERROR)
    for side in ("left", "right"):
        for end in ("arm", "leg"):
            chain = torch.zeros(count, 3)
            for number, row in enumerate(_LIMBS[side, end]):
                if number < 2:
                    chain = chain + draw.normal(count, 3) * torch.tensor(_BONE_ERROR)
                error[:, row] += chain
    error[:, _TRUNK] += (draw.normal(count, 3) * torch.tensor(_TRUNK_ERROR))[:, None]
    landmarks = about + error * badness * (1 + 1.5 * (1 - confidence[..., None]))
    flat = 1 + 0.12 * draw.normal(count, 1) - 0.05
    landmarks = torch.cat([landmarks[..., :2], landmarks[..., 2:] * flat[..., None]], -1)
    landmarks = landmarks @ _small_turn(count, draw)
    has = draw.share(config.hints, count, 1) & HAS_HINT
    return landmarks * has[..., None], has


def _small_turn(count: int, draw: Draw) -> Tensor:
    """Rotations (B,3,3) by a few degrees about x and y."""
    x, y = (torch.deg2rad(_TURN_DEG * draw.normal(count)) for _ in range(2))
    zero, one = torch.zeros(count), torch.ones(count)
    about_x = torch.stack([one, zero, zero, zero, x.cos(), -x.sin(), zero, x.sin(), x.cos()], -1)
    about_y = torch.stack([y.cos(), zero, y.sin(), zero, one, zero, -y.sin(), zero, y.cos()], -1)
    return about_x.unflatten(-1, (3, 3)) @ about_y.unflatten(-1, (3, 3))
