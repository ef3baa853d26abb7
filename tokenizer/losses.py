"""Losses of stage 1, pure functions; means over everything they are given."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .body.model import Body
from .body.rotations import axis_angle_to_matrix, geodesic_distance
from .config import LossConfig


def rotation_loss(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    """Rotations (...,3,3) against rotations: ``mse`` of the matrix entries, or the mean ``geodesic`` angle (rad)."""
    if kind == "mse":
        return (predicted - target).square().mean()
    return geodesic_distance(predicted, target).mean()


def reconstruction_loss(
    predicted: Tensor, target: Tensor, body: Body, config: LossConfig, subset: Tensor | None
) -> dict[str, Tensor]:
    """Weighted terms for poses (B,21,3,3): rotations, joints (L1, metres), vertices of ``subset`` (L1, metres)."""
    terms = {"rotation": config.rotation_weight * rotation_loss(predicted, target, config.rotation)}
    if config.joints_weight:
        with torch.no_grad():
            joints = body.joints(target)
        terms["joints"] = config.joints_weight * (body.joints(predicted) - joints)[:, 1:].abs().mean()
    if config.vertices_weight:
        with torch.no_grad():
            vertices = body.vertices(target, subset=subset)
        terms["vertices"] = config.vertices_weight * (body.vertices(predicted, subset=subset) - vertices).abs().mean()
    return terms


def consistency_loss(latents: Tensor, noisy_latents: Tensor) -> Tensor:
    """How far joint noise moves the bounded latents: mean square of the difference of their tanh.

    Keeping it small keeps token ids the same under small changes of the pose, hence predictable from an image.
    """
    return (torch.tanh(noisy_latents.float()) - torch.tanh(latents.float())).square().mean()


def perturb(rotations: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    """Turn every joint of (B,21,3,3) about a random axis by ``degrees`` (root mean square, per joint)."""
    shape = (*rotations.shape[:-2], 3)
    noise = torch.randn(shape, generator=generator) * math.radians(degrees) / math.sqrt(3)
    return rotations @ axis_angle_to_matrix(noise.to(rotations.device))
