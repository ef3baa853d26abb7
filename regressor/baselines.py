"""Answers that look at no image: what a training split knows of everybody."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.body.skeleton import index

from .datasets.sample import Sample, has_neutral_betas


@dataclass(frozen=True)
class Means:
    """What a training split says before any image: joints (24,3) about the pelvis in camera axes; body_pose (23,3,3)
    and orientation (3,3), chordal means; betas (10,)."""

    joints: Tensor
    body_pose: Tensor
    orientation: Tensor
    betas: Tensor

    def to(self, device: torch.device) -> Means:
        """The same on ``device``."""
        return Means(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def chordal_mean(rotations: Tensor) -> Tensor:
    """Rotations (N,...,3,3) → the rotation (...,3,3) at least mean squared chordal distance (Hartley et al., 2013)."""
    u, _, vh = torch.linalg.svd(rotations.double().mean(0))
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return ((u * flip[..., None, :]) @ vh).to(rotations.dtype)


@torch.no_grad()
def training_means(samples: Sample, body: Body) -> Means:
    """The image-blind knowledge of a training split, for the baselines, of the neutral ``body``: shapes of other bodies
    are left out, and the mean shape stands in for them."""
    root = index("pelvis")
    shaped = has_neutral_betas(samples)
    betas = samples["betas"][shaped].mean(0) if shaped.any() else torch.zeros_like(samples["betas"][0])
    shapes = torch.where(shaped[:, None], samples["betas"], betas)
    joints = body.joints(samples["body_pose"], root=samples["global_orient"], betas=shapes)
    return Means(
        joints=(joints - joints[:, root : root + 1]).mean(0),
        body_pose=chordal_mean(samples["body_pose"]),
        orientation=chordal_mean(samples["global_orient"]),
        betas=betas,
    )
