"""The training batch of a step. Every random draw comes from (seed, step): nothing of it needs restoring, and every
process of a distributed run draws the whole batch and takes its share, so that results do not depend on their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.rotations import axis_angle_to_matrix, perturb_rotations
from ..config import TokenizerConfig
from .augmentation import augment, disturb, visible_joints
from .mixture import Mixture


@dataclass
class Batch:
    """poses (B,21,3) axis-angle as stored; target (B,21,3,3), the poses to rebuild; seen (B,21,3,3), what the encoder
    gets of them; visible (B,21) bool or None; moved (B,21,3,3), ``seen`` under joint noise, or None; generator, for the
    draws of the quantizer.
    """

    poses: Tensor
    target: Tensor
    seen: Tensor
    visible: Tensor | None
    moved: Tensor | None
    generator: torch.Generator

    def share(self, number: int, count: int) -> Batch:
        """The ``number``-th of ``count`` equal parts, in order; ``generator`` stays common."""
        size = len(self.poses) // count
        part = slice(number * size, (number + 1) * size)
        return Batch(
            self.poses[part],
            self.target[part],
            self.seen[part],
            None if self.visible is None else self.visible[part],
            None if self.moved is None else self.moved[part],
            self.generator,
        )


def draw_batch(poses: Tensor, mixture: Mixture, config: TokenizerConfig, step: int) -> Batch:
    """The whole batch of ``step`` from the training poses (N,21,3) axis-angle, by ``mixture``."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    chosen = mixture.draw(config.optim.batch, generator)
    drawn = poses[chosen.to(poses.device)]
    visible = visible_joints(len(drawn), config.augment, generator)
    target = augment(axis_angle_to_matrix(drawn), config.augment, generator, visible)
    seen = disturb(target, config.augment, generator)
    noise = config.loss.consistency_deg
    moved = perturb_rotations(seen, noise, generator) if config.loss.consistency_weight else None
    return Batch(drawn, target, seen, None if visible is None else visible.to(poses.device), moved, generator)
