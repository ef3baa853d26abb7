"""A vocabulary as a prior: what it makes of poses that are partly hidden, or disturbed."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..body.metrics import mpjpe
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix, geodesic_distance, perturb_rotations


class SeesParts(Protocol):
    """What ``PoseTokenizer`` and ``FrozenTokenizer`` offer: tokens of a pose of which some joints are hidden."""

    def encode(self, rotations: Tensor, visible: Tensor | None = None) -> Tensor: ...
    def decode(self, ids: Tensor) -> Tensor: ...


@torch.no_grad()
def completion_errors(tokenizer: SeesParts, poses: Tensor, share: float, *, seed: int = 0, batch: int = 2048) -> float:
    """Mean angle in degrees between hidden joints and what is decoded in their place.

    In each of the poses (N,21,3) axis-angle a ``share`` of the joints, rounded, is hidden at random.
    """
    generator = torch.Generator().manual_seed(seed)
    hidden_joints = round(share * poses.shape[1])
    total, count = 0.0, 0
    for chunk in poses.split(batch):
        rotations = axis_angle_to_matrix(chunk)
        rank = torch.rand(chunk.shape[:2], generator=generator).argsort(-1).argsort(-1).to(chunk.device)
        hidden = rank < hidden_joints
        guessed = tokenizer.decode(tokenizer.encode(rotations, ~hidden))
        total += float(geodesic_distance(guessed, rotations)[hidden].rad2deg().sum())
        count += int(hidden.sum())
    return total / max(count, 1)


@torch.no_grad()
def denoising_errors(
    tokenizer: SeesParts, poses: Tensor, degrees: float, body: Body, *, seed: int = 0, batch: int = 2048
) -> tuple[float, float]:
    """MPJPE in mm, joints 1-23, of disturbed poses (N,21,3) to the clean ones: before and after going through tokens.

    Every joint turns about a random axis by ``degrees`` (root mean square).
    """
    generator = torch.Generator().manual_seed(seed)
    before: list[Tensor] = []
    after: list[Tensor] = []
    for chunk in poses.split(batch):
        clean = axis_angle_to_matrix(chunk)
        noisy = perturb_rotations(clean, degrees, generator)
        truth = body.joints(clean)[:, 1:24]
        for rotations, errors in ((noisy, before), (tokenizer.decode(tokenizer.encode(noisy)), after)):
            errors.append(1000 * mpjpe(body.joints(rotations)[:, 1:24], truth))
    return float(torch.cat(before).mean()), float(torch.cat(after).mean())


@torch.no_grad()
def frame_stability(tokenizer: SeesParts, clips: list[Tensor]) -> float:
    """Share of token ids that stay from one frame to the next, over all clips (N,21,3) axis-angle."""
    kept, count = 0, 0
    for clip in clips:
        ids = tokenizer.encode(axis_angle_to_matrix(clip))
        kept += int((ids[1:] == ids[:-1]).sum())
        count += ids[1:].numel()
    return kept / max(count, 1)
