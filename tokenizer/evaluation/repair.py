"""A vocabulary as a prior: what it makes of poses that are partly hidden, or disturbed; and a nearest neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ..body.metrics import mpjpe
from ..body.model import Body
from ..body.rotations import axis_angle_to_matrix, geodesic_distance, perturb_rotations
from ..body.skeleton import BODY_JOINT_NAMES, LIMBS, body_index, kind_of_joint
from ..frozen import FrozenTokenizer
from ..mocap.composed import compose
from .reconstruction import evaluate_tokenizer


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
    rank = torch.rand(poses.shape[:2], generator=generator).argsort(-1).argsort(-1)
    return _error_of_hidden(tokenizer, poses, (rank < round(share * poses.shape[1])).to(poses.device), batch)


@torch.no_grad()
def limb_completion_errors(tokenizer: SeesParts, poses: Tensor, *, batch: int = 2048) -> dict[str, float]:
    """Mean angle in degrees between the joints of a limb and what is decoded in their place, all of it hidden, for each
    arm (collar included) and leg of the poses (N,21,3) axis-angle."""
    errors = {}
    for name, joints in LIMBS.items():
        hidden = torch.zeros(poses.shape[:2], dtype=torch.bool, device=poses.device)
        hidden[:, [body_index(joint) for joint in joints]] = True
        errors[name] = _error_of_hidden(tokenizer, poses, hidden, batch)
    return errors


def _error_of_hidden(tokenizer: SeesParts, poses: Tensor, hidden: Tensor, batch: int) -> float:
    total = 0.0
    for chunk, mask in zip(poses.split(batch), hidden.split(batch), strict=True):
        rotations = axis_angle_to_matrix(chunk)
        guessed = tokenizer.decode(tokenizer.encode(rotations, ~mask))
        total += float(geodesic_distance(guessed, rotations)[mask].rad2deg().sum())
    return total / max(int(hidden.sum()), 1)


class NearestNeighbour:
    """The baseline of completion: of known poses (N,21,3) axis-angle, at most ``at_most`` of them at even distances,
    the one whose visible joints are nearest (sum of squared differences of rotation matrices)."""

    def __init__(self, poses: Tensor, at_most: int = 20_000) -> None:
        rows = torch.linspace(0, len(poses) - 1, min(len(poses), at_most), dtype=torch.float64).round().long()
        self.known = axis_angle_to_matrix(poses[rows.to(poses.device)])

    def encode(self, rotations: Tensor, visible: Tensor | None = None) -> Tensor:
        """Rotations (B,21,3,3), visible (B,21) bool or None → rows (B,1) of the nearest poses."""
        seen = rotations if visible is None else rotations * visible[..., None, None]
        # All rotation matrices are of one norm: the smallest distance has the largest product.
        return (seen.flatten(1) @ self.known.flatten(1).T).argmax(-1, keepdim=True)

    def decode(self, ids: Tensor) -> Tensor:
        """Rows (B,1) → poses (B,21,3,3)."""
        return self.known[ids[:, 0]]


@torch.no_grad()
def turned_errors(
    tokenizer: SeesParts,
    poses: Tensor,
    degrees: Mapping[str, float],
    body: Body,
    *,
    seed: int = 0,
    batch: int = 2048,
) -> float:
    """MPJPE in mm, joints 1-23, of poses that are not in the data: those of (N,21,3), joints turned about random axes.

    ``degrees``: root mean square by kind of joint: a joint's name without its side, such as ``collar``; other joints
    stay. The turned poses are what tokens must hold.
    """
    generator = torch.Generator().manual_seed(seed)
    turns = torch.tensor([degrees.get(kind_of_joint(name), 0.0) for name in BODY_JOINT_NAMES])
    errors = []
    for chunk in poses.split(batch):
        turned = perturb_rotations(axis_angle_to_matrix(chunk), turns, generator)
        decoded = tokenizer.decode(tokenizer.encode(turned))
        errors.append(1000 * mpjpe(body.joints(decoded)[:, 1:24], body.joints(turned)[:, 1:24]))
    return float(torch.cat(errors).mean())


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
    unchanged, count = 0, 0
    for clip in clips:
        ids = tokenizer.encode(axis_angle_to_matrix(clip))
        unchanged += int((ids[1:] == ids[:-1]).sum())
        count += ids[1:].numel()
    return unchanged / max(count, 1)


TURNS = {"collar": 20.0, "spine3": 8.0, "foot": 12.0}
"""Root mean square angle in degrees by which joints of a kind turn; what mocap of two skeletons never moves."""
HIDDEN = 0.4
PROTOCOL = (
    "turned: MPJPE of the same poses with random rotations added (any axis, r.m.s. collars 20°, spine3 8°, feet 12°, "
    "seed 0); composed: MPJPE of 2,000 composed poses that no store holds; hidden: mean angle of 40 % of the joints, "
    "hidden at random (seed 0), and of the joints of one limb, mean of the four; neighbour: the same by the nearest of "
    "20,000 poses of the train split, in what is visible"
)
_COMPOSED, _SEED = 2000, 9_000_001
_POSES_AT_ONCE = 512


def robustness(tokenizer: FrozenTokenizer, poses: Tensor, known: Tensor, body: Body) -> dict[str, float]:
    """Return the figures of ``PROTOCOL`` for poses (N,21,3) axis-angle, in millimetres and degrees.

    ``known`` (M,21,3): poses that the nearest neighbour knows, those of mocap in the train split.
    """
    figures = {"turned_mpjpe_mm": turned_errors(tokenizer, poses, TURNS, body)}
    composed = torch.from_numpy(compose(_COMPOSED, _SEED)).to(poses.device)
    figures["composed_mpjpe_mm"] = evaluate_tokenizer(tokenizer, composed, body)["mpjpe_mm"]
    neighbour = NearestNeighbour(known)
    models: tuple[tuple[str, SeesParts], ...] = (("", tokenizer), ("_neighbour", neighbour))
    for name, model in models:
        figures[f"hidden_joints{name}_deg"] = completion_errors(model, poses, HIDDEN, batch=_POSES_AT_ONCE)
        limbs = limb_completion_errors(model, poses, batch=_POSES_AT_ONCE)
        figures[f"hidden_limb{name}_deg"] = sum(limbs.values()) / len(limbs)
    return figures
