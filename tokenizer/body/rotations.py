"""Rotation representations, named ``source_to_target``, for torch tensors with any leading batch dimensions.

Rotation matrices act on column vectors. ``rot6d`` here means the first two ROWS of the matrix, flattened
(Zhou et al., CVPR 2019, with rows in place of columns), the convention of the tokenizer's networks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..engine.constants import constant


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula. (...,3) radians, any magnitude → (...,3,3). Smooth, with gradients, at zero."""
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)[..., None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    versine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine * cross + versine * (cross @ cross)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """(...,3,3) → unit quaternion (...,4) as (w, x, y, z), w ≥ 0; the best-conditioned of four formulas is taken."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    candidates = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, 1 + m00 - m11 - m22, m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, 1 - m00 + m11 - m22, m12 + m21], -1),
            torch.stack([m10 - m01, m02 + m20, m12 + m21, 1 - m00 - m11 + m22], -1),
        ],
        -2,
    )
    diagonal = torch.stack([candidates[..., i, i] for i in range(4)], -1)
    best = diagonal.argmax(-1)[..., None, None].expand(*diagonal.shape[:-1], 1, 4)
    quaternion = F.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Unit quaternion (...,4) (w, x, y, z) → axis-angle (...,3), magnitude in [0, π]."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    sine = vector.norm(dim=-1, keepdim=True)
    half = torch.atan2(sine, quaternion[..., :1])
    scale = torch.where(sine > 1e-7, 2 * half / sine.clamp_min(1e-7), torch.full_like(sine, 2.0))
    return vector * scale


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """(...,3,3) → axis-angle (...,3), magnitude in [0, π]."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def matrix_to_rot6d(matrix: Tensor) -> Tensor:
    """(...,3,3) → (...,6): first row, then second row."""
    return matrix[..., :2, :].flatten(-2)


def rot6d_to_matrix(rot6d: Tensor) -> Tensor:
    """(...,6), two rows → (...,3,3) by Gram–Schmidt on rows (Zhou et al., CVPR 2019)."""
    first = F.normalize(rot6d[..., :3], dim=-1)
    second = rot6d[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -2)


def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians, (...,), between rotations (...,3,3); accurate near 0 and π."""
    relative = a.transpose(-1, -2) @ b
    sine = 0.5 * torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        -1,
    ).norm(dim=-1)
    cosine = 0.5 * (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return torch.atan2(sine, cosine)


def mirror_rotations(rotations: Tensor, permutation: tuple[int, ...]) -> Tensor:
    """Reflect a pose in the plane x = 0: (...,J,3,3) → the same shape, joints swapped by ``permutation``.

    With M = diag(−1,1,1), each rotation becomes M·R·M at the joint of the other side.
    """
    sign = constant((-1.0, 1.0, 1.0), rotations.device, rotations.dtype)
    swapped = rotations.index_select(-3, constant(permutation, rotations.device, torch.int64))
    return swapped * (sign[:, None] * sign[None, :])


def perturb_rotations(rotations: Tensor, degrees: float | Tensor, generator: torch.Generator) -> Tensor:
    """Rotate every joint of (...,J,3,3) about a random axis by ``degrees`` (root mean square; one for all joints, or
    (J,) on the CPU, one for each)."""
    shape = (*rotations.shape[:-2], 3)
    radians = math.radians(degrees) if isinstance(degrees, float | int) else degrees.deg2rad()[:, None]
    noise = torch.randn(shape, generator=generator) * radians / math.sqrt(3)
    return rotations @ axis_angle_to_matrix(noise.to(rotations.device))
