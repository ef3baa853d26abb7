"""Threshold-adaptive loss scaling (TALS; Dwivedi et al., TokenHMR, CVPR 2024): what fits well enough hardly counts.

Seen through an approximate camera even the true body misses its 2D keypoints, and a pseudo label misses the true
rotation. An error below what a perfect answer would show carries no information; pulling it to zero bends the body.

The thresholds themselves: ``PUBLISHED_TALS`` in ``regressor/config.py``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from tokenizer.engine.constants import constant

from ..config import TalsConfig
from ..sample import Sample, is_true_3d


def keypoints_2d_scale(predicted: Tensor, target: Tensor, tals: TalsConfig, *, trust: Tensor | None = None) -> Tensor:
    """Keypoints (...,44,2) against (...,44,2), crop units → (...,44): ``weight`` where the squared distance is below
    its threshold, 1 elsewhere. ``trust`` (...,44) multiplies the squared distance. No gradient.
    """
    squared = (predicted.detach() - target).square().sum(-1)
    return _scale(squared if trust is None else squared * trust, KEYPOINT_NAMES, tals.keypoints_2d, tals.weight)


def rotations_scale(predicted: Tensor, target: Tensor, joints: Collection[str], tals: TalsConfig) -> Tensor:
    """Rotations (...,J,3,3) of ``joints`` → (...,J): ``weight`` where the angle between them is below the threshold of
    its joint, 1 elsewhere. No gradient.
    """
    return _scale(geodesic_distance(predicted.detach(), target), joints, tals.rotations, tals.weight)


@dataclass(frozen=True)
class Scales:
    """How much every error counts, in [0, 1]: keypoints_2d (B,44), keypoints_3d (B,44), orientation (B,), body_pose
    (B,23)."""

    keypoints_2d: Tensor
    keypoints_3d: Tensor
    orientation: Tensor
    body_pose: Tensor


def loss_scales(
    orientation: Tensor, body_pose: Tensor, keypoints_2d: Tensor, sample: Sample, tals: TalsConfig
) -> Scales:
    """Scales of a prediction's errors: orientation (B,3,3), body_pose (B,23,3,3), keypoints_2d (B,44,2) crop units.

    2D keypoints are scaled on all data. Rotations are scaled on pseudo labels alone, and so are 3D keypoints, by the
    scale of their 2D where that is known: both were once fitted to 2D, through a camera as wrong as ours.
    """
    confidence = sample["keypoints_2d"][..., 2]
    scale_2d = keypoints_2d_scale(keypoints_2d, sample["keypoints_2d"][..., :2], tals)
    pseudo = ~is_true_3d(sample)
    turned = rotations_scale(orientation[:, None], sample["global_orient"][:, None], JOINT_NAMES[:1], tals)[:, 0]
    bent = rotations_scale(body_pose, sample["body_pose"], JOINT_NAMES[1:], tals)
    return Scales(
        keypoints_2d=scale_2d,
        keypoints_3d=torch.where(pseudo[:, None] & (confidence > 0), scale_2d, 1.0),
        orientation=torch.where(pseudo, turned, 1.0),
        body_pose=torch.where(pseudo[:, None], bent, 1.0),
    )


def _scale(errors: Tensor, names: Collection[str], thresholds: dict[str, float], weight: float) -> Tensor:
    limits = constant(tuple(thresholds.get(name, 0.0) for name in names), errors.device, errors.dtype)
    return torch.where(errors < limits, weight, 1.0)
