"""Answers that look at no image: what a training split knows of everybody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.skeleton import index

from ..sample import Sample, has_neutral_betas


@dataclass(frozen=True)
class Means:
    """Statistics of a training split, without any image: joints (24,3) about the pelvis in camera axes; body_pose
    (23,3,3) and orientation (3,3), chordal means; betas (10,)."""

    joints: Tensor
    body_pose: Tensor
    orientation: Tensor
    betas: Tensor

    def to(self, device: torch.device) -> Means:
        """The same on ``device``."""
        return Means(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def chordal_mean(rotations: Tensor) -> Tensor:
    """Rotations (N,...,3,3) → the rotation (...,3,3) at least mean squared chordal distance (Hartley et al., 2013)."""
    return _nearest_rotation(rotations.double().mean(0)).to(rotations.dtype)


@torch.no_grad()
def training_means(batches: Iterable[Sample], body: Body) -> Means:
    """The image-blind knowledge of a training split, for the baselines, of the neutral ``body``: shapes of other bodies
    are left out, and replaced by the mean shape.

    ``batches`` hold its annotation, and are iterated twice. Joints are computed on the device of ``body``; the
    means are on the CPU, float32.
    """
    device, root = body.v_template.device, index("pelvis")
    shapes, shaped = torch.zeros(body.num_betas, dtype=torch.float64), 0
    for sample in batches:
        own = has_neutral_betas(sample)
        shapes, shaped = shapes + sample["betas"][own].double().sum(0), shaped + int(own.sum())
    betas = (shapes / max(shaped, 1)).float()
    count, sums = 0, dict.fromkeys(("joints", "body_pose", "orientation"), torch.zeros((), dtype=torch.float64))
    for sample in batches:
        pose, orientation = sample["body_pose"], sample["global_orient"]
        own = torch.where(has_neutral_betas(sample)[:, None], sample["betas"], betas)
        joints = body.joints(pose.to(device), root=orientation.to(device), betas=own.to(device)).cpu()
        parts = {"joints": joints - joints[:, root : root + 1], "body_pose": pose, "orientation": orientation}
        sums = {name: sums[name] + values.double().sum(0) for name, values in parts.items()}
        count += len(pose)
    return Means(
        joints=(sums["joints"] / count).float(),
        body_pose=_nearest_rotation(sums["body_pose"] / count).float(),
        orientation=_nearest_rotation(sums["orientation"] / count).float(),
        betas=betas,
    )


def _nearest_rotation(matrices: Tensor) -> Tensor:
    """Float64 (...,3,3) on the CPU → the rotation nearest to each."""
    u, _, vh = torch.linalg.svd(matrices)
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (u * flip[..., None, :]) @ vh
