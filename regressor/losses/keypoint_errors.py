"""How far predicted keypoints fall from annotated ones in the image: the one error that needs no body in 3D."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer import Body

from ..geometry.camera import project_to_crop
from ..network.prediction import Prediction
from ..sample import Sample
from .masking import mask_invalid

PCK_AT = {"pck_05_pct": 0.05, "pck_10_pct": 0.1}
"""Distances, by the side of the box, up to which a keypoint counts as found; TokenHMR's PCK@0.05 and PCK@0.1."""


def keypoint_distances(prediction: Prediction, sample: Sample, body: Body) -> Tensor:
    """Keypoints of predicted bodies, seen through their cameras, against those of ``sample``: (B,44) by the side of the
    box, whatever stands there where none is annotated."""
    points = prediction.keypoints(body) + prediction.camera_translation()[:, None]
    target = mask_invalid(sample["keypoints_2d"][..., :2], sample["keypoints_2d"][..., 2])
    return (project_to_crop(points, prediction.box, prediction.K) - target).norm(dim=-1)


def keypoint_scores(distances: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Distances (B,J) as above, of which those ``seen`` (B,J) bool count, at least one a sample → by figure (B,):
    ``keypoints_2d_pct``, their mean in per cent of the side of the box, and by ``PCK_AT`` the share of them within."""
    count = seen.sum(1)
    scores = {"keypoints_2d_pct": 100 * torch.where(seen, distances, 0.0).sum(1) / count}
    return scores | {name: 100 * (seen & (distances <= at)).sum(1) / count for name, at in PCK_AT.items()}


def seen_keypoints(sample: Sample) -> Tensor:
    """(B,44) bool: which 2D keypoints are annotated."""
    return sample["keypoints_2d"][..., 2] > 0
