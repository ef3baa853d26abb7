"""What happens to training poses: mirrored, recombined, disturbed, partly hidden. Every draw comes from a generator."""

from __future__ import annotations

import torch
from torch import Tensor

from .body.rotations import mirror_rotations
from .body.skeleton import BODY_JOINT_NAMES, body_index, mirror_permutation
from .config import AugmentConfig
from .losses import perturb

_MIRROR = mirror_permutation(BODY_JOINT_NAMES)
_LIMBS = tuple(
    tuple(body_index(f"{side}_{joint}") for joint in limb)
    for side in ("left", "right")
    for limb in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
)


def augment(rotations: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """New poses from poses (B,21,3,3): mirrored with probability ``mirror``; with ``swap``, limbs of others.

    These are poses in their own right: the loss is taken against them.
    """
    count = len(rotations)
    if config.mirror:
        mirrored = (torch.rand(count, generator=generator) < config.mirror).to(rotations.device)
        rotations = torch.where(mirrored[:, None, None, None], mirror_rotations(rotations, _MIRROR), rotations)
    if config.swap:
        chosen = torch.rand(count, generator=generator) < config.swap
        donors = rotations
        rotations = rotations.clone()
        for limb in _LIMBS:
            taken = (chosen & (torch.rand(count, generator=generator) < 0.5)).nonzero()[:, 0]
            donor = torch.randint(count, (len(taken),), generator=generator)
            joints = torch.tensor(limb)
            rotations[taken[:, None], joints] = donors[donor[:, None], joints]
    return rotations


def corrupt(rotations: Tensor, config: AugmentConfig, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """What the encoder sees of (B,21,3,3): noise of up to ``noise_deg`` on a ``noise_share`` of the poses, and a
    visibility (B,21) bool that hides joints with probability ``mask`` in a ``mask_share`` of them (None: all visible).
    The loss is still taken against the clean pose.
    """
    count, joints = rotations.shape[:2]
    if config.noise_deg:
        noisy = (torch.rand(count, generator=generator) < config.noise_share).to(rotations.device)
        rotations = torch.where(noisy[:, None, None, None], perturb(rotations, config.noise_deg, generator), rotations)
    if not config.mask:
        return rotations, None
    masked = torch.rand(count, 1, generator=generator) < config.mask_share
    hidden = masked & (torch.rand(count, joints, generator=generator) < config.mask)
    return rotations, ~hidden.to(rotations.device)
