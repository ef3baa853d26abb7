"""Samples of nobody: all known, nothing true. For what depends on shapes alone: benchmarks, a look at a graph."""

from __future__ import annotations

from typing import Any

import torch

from tokenizer.body.keypoints import DETECTOR_POINTS
from tokenizer.body.skeleton import KEYPOINT_NAMES, NUM_JOINTS

from ..geometry.camera import assumed_intrinsics
from ..sample import Sample

_WIDTH, _HEIGHT = 640, 480
_UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def made_up_sample(count: int, size: int, seed: int = 0) -> Sample:
    """Return ``count`` crops of ``size`` px full of noise, each annotated with a person in the rest pose 4 m away.

    Of size 0 they have detected points and 3D landmarks in place of images.
    """
    generator = torch.Generator().manual_seed(seed)
    known = torch.ones(count, dtype=torch.bool)
    keypoints, confidence = len(KEYPOINT_NAMES), torch.ones(count, len(KEYPOINT_NAMES), 1)
    points: Any = {}
    if not size:
        number = len(DETECTOR_POINTS)
        points = {
            "points_2d": torch.rand(count, number, 3, generator=generator) - torch.tensor([0.5, 0.5, 0.0]),
            "points_3d": 0.3 * torch.randn(count, number, 3, generator=generator),
            "has_points_3d": torch.ones(count, number, dtype=torch.bool),
        }
    return {
        **points,
        "image": torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8),
        "keypoints_2d": torch.cat([torch.rand(count, keypoints, 2, generator=generator) - 0.5, confidence], -1),
        "keypoints_3d": torch.cat([torch.randn(count, keypoints, 3, generator=generator), confidence], -1),
        "global_orient": _UPRIGHT.repeat(count, 1, 1),
        "body_pose": torch.eye(3).repeat(count, NUM_JOINTS - 1, 1, 1),
        "betas": torch.zeros(count, 10),
        "translation": torch.tensor([0.0, 0.0, 4.0]).repeat(count, 1),
        "has_global_orient": known,
        "has_body_pose": known.clone(),
        "has_betas": known.clone(),
        "box": torch.tensor([80.0, 0.0, 80.0 + _HEIGHT, _HEIGHT]).repeat(count, 1),
        "image_size": torch.tensor([[float(_WIDTH), float(_HEIGHT)]]).repeat(count, 1),
        "K": assumed_intrinsics(_WIDTH, _HEIGHT).repeat(count, 1, 1),
    }
