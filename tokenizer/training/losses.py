"""Losses of stage 1, pure functions; means over everything they are given."""

from __future__ import annotations

import torch
from torch import Tensor

from ..body.model import Body
from ..body.rotations import geodesic_distance
from ..config import LossConfig


def rotation_loss(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    """Rotations (...,3,3) against rotations: ``mse`` of the matrix entries, or the mean ``geodesic`` angle (rad)."""
    if kind == "mse":
        return (predicted - target).square().mean()
    return geodesic_distance(predicted, target).mean()


def reconstruction_loss(
    predicted: Tensor, target: Tensor, body: Body, config: LossConfig, subset: Tensor | None
) -> dict[str, Tensor]:
    """Weighted terms for poses (B,21,3,3): rotations, joints 1-21 and 22-23 where L1, vertices of ``subset`` (or all).

    L1 is the mean absolute difference in metres, mse the mean square; ``area_mse`` weighs vertices by
    ``vertex_area_weights``.
    """
    terms = {"rotation": config.rotation_weight * rotation_loss(predicted, target, config.rotation)}
    if config.joints_weight:
        with torch.no_grad():
            joints = body.joints(target)
        difference = (body.joints(predicted) - joints)[:, 1:]
        error = difference.abs().mean() if config.joints == "l1" else difference[:, :21].square().mean()
        terms["joints"] = config.joints_weight * error
    if config.vertices_weight:
        with torch.no_grad():
            vertices = body.vertices(target, subset=subset)
        difference = body.vertices(predicted, subset=subset) - vertices
        if config.vertices == "l1":
            error = difference.abs().mean()
        elif config.vertices == "mse":
            error = difference.square().mean()
        else:
            weights = vertex_area_weights(body.v_template, body.faces)
            error = (difference.square() * (weights if subset is None else weights[subset])[:, None]).mean()
        terms["vertices"] = config.vertices_weight * error
    return terms


def vertex_area_weights(vertices: Tensor, faces: Tensor) -> Tensor:
    """Weight (V,) of each vertex: the sum over its faces of their areas, scaled to [0, 1] between smallest and largest.

    TokenHMR weighs its mesh loss so: large faces count, the dense ones of the face and hands hardly.
    """
    a, b, c = vertices[faces].unbind(1)
    areas = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=-1)
    areas = (areas - areas.min()) / (areas.max() - areas.min())
    weights = torch.zeros(len(vertices), dtype=vertices.dtype, device=vertices.device)
    return weights.index_add_(0, faces.flatten(), areas.repeat_interleave(3))


def consistency_loss(latents: Tensor, noisy_latents: Tensor) -> Tensor:
    """How far joint noise moves the bounded latents: mean square of the difference of their tanh.

    Keeping it small keeps token ids the same under small changes of the pose, hence predictable from an image.
    """
    return (torch.tanh(noisy_latents.float()) - torch.tanh(latents.float())).square().mean()
