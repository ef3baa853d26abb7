"""The backbone of a keypoint regressor: points that a detector found, in place of an image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tokenizer.body.keypoints import DETECTOR_POINTS

from ..config import DecoderConfig
from ..geometry.rays import half_extent, rays_of_points
from ..sample import Sample
from .decoders import Decoded, MLPBlock

_FARTHEST = 3.0
"""Points so many half extents away from the middle are outliers; farther does not count as farther."""
_USUAL_LOG_EXTENT = -1.2


class PointEvidence(NamedTuple):
    """What a keypoint regressor sees: ``points`` (B,25,3), ``hints`` (B,25,3) and ``has_hints`` (B,25), which are
    ``points_2d``, ``points_3d`` and ``has_points_3d`` of a ``Sample``."""

    points: Tensor
    hints: Tensor
    has_hints: Tensor

    @classmethod
    def of(cls, sample: Sample) -> PointEvidence:
        """Return that of a sample, which has it."""
        return cls(sample["points_2d"], sample["points_3d"], sample["has_points_3d"])

    def features(self, box: Tensor, K: Tensor) -> Tensor:
        """box (B,4), K (B,3,3) → (B,F): directions about the viewing ray in half extents, confidences, 3D hints, and
        how large the person looks."""
        confidence, extent = self.points[..., 2], half_extent(box, K)
        seen = (confidence > 0).float()
        rays = rays_of_points(self.points[..., :2], box, K) / extent[:, None, None]
        has = self.has_hints.float()
        return torch.cat(
            [
                (rays.clamp(-_FARTHEST, _FARTHEST) * seen[..., None]).flatten(1),
                2 * confidence - 1,
                2 * (self.hints * has[..., None]).flatten(1),
                has,
                extent.clamp_min(1e-6).log()[:, None] - _USUAL_LOG_EXTENT,
            ],
            1,
        )


NUM_FEATURES = len(DETECTOR_POINTS) * (2 + 1 + 3 + 1) + 1


class KeypointEncoder(nn.Module):
    """One linear layer: the features of all points → a vector of ``width``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width
        self.enter = nn.Linear(NUM_FEATURES, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B,F) → (B,width)."""
        out: Tensor = self.enter(features)
        return out


class MLPDecoder(nn.Module):
    """Residual blocks on the vector of a ``KeypointEncoder``.

    Martinez et al., "A simple yet effective baseline for 3D human pose estimation" (ICCV 2017).
    """

    needs_geometry = True

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = nn.ModuleList(MLPBlock(config.width, config.dropout) for _ in range(config.blocks))
        self.leave = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Decoded:
        """(B,width) → ``Decoded`` without soft-argmax keypoints."""
        for block in self.blocks:
            x = block(x)
        return Decoded(self.leave(x), None)
