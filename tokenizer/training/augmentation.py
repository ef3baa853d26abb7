"""What happens to training poses: mirrored, recombined, disturbed, partly hidden. Every draw comes from a generator."""

from __future__ import annotations

import torch
from torch import Tensor

from ..body.rotations import mirror_rotations, perturb_rotations
from ..body.skeleton import BODY_JOINT_NAMES, LIMBS, body_index, kind_of_joint, mirror_permutation
from ..config import AugmentConfig

_MIRROR = mirror_permutation(BODY_JOINT_NAMES)
_LIMBS = tuple(tuple(map(body_index, joints)) for joints in LIMBS.values())
_LIMB_JOINTS = torch.tensor([[joint in limb for joint in range(len(BODY_JOINT_NAMES))] for limb in _LIMBS])


def augment(
    rotations: Tensor, config: AugmentConfig, generator: torch.Generator, visible: Tensor | None = None
) -> Tensor:
    """New poses from poses (B,21,3,3): mirrored with probability ``mirror``; with ``swap``, limbs of others; turned at
    random joints, see ``AugmentConfig``.

    These are poses in their own right: the loss is taken against them. Poses of which not all is ``visible`` (B,21)
    keep their own limbs: what is hidden could not be told from the limbs of others.
    """
    count = len(rotations)
    if config.mirror:
        mirrored = (torch.rand(count, generator=generator) < config.mirror).to(rotations.device)
        rotations = torch.where(mirrored[:, None, None, None], mirror_rotations(rotations, _MIRROR), rotations)
    if config.swap:
        chosen = torch.rand(count, generator=generator) < config.swap
        if visible is not None:
            chosen &= visible.all(-1)
        donor_of = torch.arange(count)[:, None].repeat(1, rotations.shape[1])
        for limb in _LIMBS:
            taken = (chosen & (torch.rand(count, generator=generator) < 0.5)).nonzero()[:, 0]
            donor = torch.randint(count, (len(taken),), generator=generator)
            donor_of[taken[:, None], torch.tensor(limb)] = donor[:, None]
        donor_of = donor_of.to(rotations.device)
        rotations = rotations.gather(0, donor_of[..., None, None].expand_as(rotations))
    if config.turn_share:
        turned = (torch.rand(count, generator=generator) < config.turn_share).to(rotations.device)
        moved = perturb_rotations(rotations, _turn_degrees(config), generator)
        rotations = torch.where(turned[:, None, None, None], moved, rotations)
    return rotations


def _turn_degrees(config: AugmentConfig) -> Tensor:
    """Return the angle (21,) in degrees by which each joint turns (root mean square)."""
    groups = {"collar": config.turn_collars_deg, "spine3": config.turn_spine3_deg, "foot": config.turn_feet_deg}
    return torch.tensor([groups.get(kind_of_joint(name), config.turn_others_deg) for name in BODY_JOINT_NAMES])


def visible_joints(count: int, config: AugmentConfig, generator: torch.Generator) -> Tensor | None:
    """Which joints the encoder sees, (count,21) bool: in a ``mask_share`` of the poses each is hidden with probability
    ``mask``, or, in ``mask_limbs`` of them, one or two limbs are. None where nothing is ever hidden."""
    if not config.mask:
        return None
    masked = torch.rand(count, 1, generator=generator) < config.mask_share
    hidden = torch.rand(count, len(BODY_JOINT_NAMES), generator=generator) < config.mask
    if config.mask_limbs:
        limbs = _LIMB_JOINTS[torch.randint(len(_LIMBS), (count, 2), generator=generator)].any(1)
        hidden = torch.where(torch.rand(count, 1, generator=generator) < config.mask_limbs, limbs, hidden)
    return ~(masked & hidden)


def disturb(rotations: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """What the encoder sees of (B,21,3,3): noise of ``noise_deg`` on a ``noise_share`` of the poses. The loss is still
    taken against the clean pose."""
    if not config.noise_deg:
        return rotations
    noisy = (torch.rand(len(rotations), generator=generator) < config.noise_share).to(rotations.device)
    return torch.where(noisy[:, None, None, None], perturb_rotations(rotations, config.noise_deg, generator), rotations)
