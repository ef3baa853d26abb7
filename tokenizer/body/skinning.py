"""Forward kinematics and linear blend skinning: one short differentiable pair for every body.

Loper et al., SMPL (SIGGRAPH Asia 2015), equations 2-4; pose blend shapes are the caller's to add.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KinematicTree(nn.Module):
    """A tree of joints cut by depth, so that all joints of a depth turn in one product.

    ``parents`` as in SMPL files: −1 for the root, which is joint 0; a parent comes before its children.
    """

    parents: Tensor
    by_depth: Tensor
    in_order: Tensor
    ancestors: Tensor

    def __init__(self, parents: tuple[int, ...]) -> None:
        super().__init__()
        depth: list[int] = []
        ancestors = torch.eye(len(parents))
        for joint, parent in enumerate(parents):
            depth.append(0 if parent < 0 else depth[parent] + 1)
            if parent >= 0:
                ancestors[joint] += ancestors[parent]
        levels = [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
        flat = [joint for level in levels for joint in level]
        self._sizes = [len(level) for level in levels]
        above = [[levels[i].index(parents[j]) for j in level] for i, level in enumerate(levels[1:])]
        tables = {"parents": parents[1:], "by_depth": flat, "in_order": [flat.index(j) for j in range(len(flat))]}
        tables |= {f"_above_{level}": joints for level, joints in enumerate(above, start=1)}
        for name, values in tables.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)
        self.register_buffer("ancestors", ancestors, persistent=False)

    def forward(self, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Local rotations (B,J,3,3), rest joints (B or 1,J,3) → world rotations (B,J,3,3) and positions (B,J,3)."""
        first, *others = rotations.index_select(1, self.by_depth).split(self._sizes, 1)
        turned = [first]
        for level, local in enumerate(others, start=1):
            turned.append(turned[-1].index_select(1, self.get_buffer(f"_above_{level}")) @ local)
        world = torch.cat(turned, 1).index_select(1, self.in_order)

        # A joint lies at the sum of the turned bones of its ancestors and its own.
        bones = rest[:, 1:] - rest.index_select(1, self.parents)
        bones = (world.index_select(1, self.parents) @ bones.expand(len(world), -1, -1)[..., None])[..., 0]
        steps = torch.cat([rest[:, :1].expand(len(world), -1, -1), bones], 1)
        return world, self.ancestors.to(steps.dtype) @ steps


def skin(vertices: Tensor, weights: Tensor, rest: Tensor, world: Tensor, positions: Tensor) -> Tensor:
    """Move vertices with their joints.

    Rest vertices (B or 1,S,3), weights (S,J), rest joints (B or 1,J,3), world rotations (B,J,3,3) and posed joints
    (B,J,3) → posed vertices (B,S,3). Rest vertices shared by the batch (1,S,3) cost a quarter of the time.
    """
    transforms = torch.cat([world, (positions[..., None] - world @ rest[..., None])], -1)
    if len(vertices) == 1:
        # Posed vertices are linear in the transforms: one matrix product, no transform per vertex.
        homogeneous = torch.cat([vertices[0], torch.ones_like(vertices[0, :, :1])], -1)
        basis = (weights[:, :, None] * homogeneous[:, None]).flatten(1)
        rows = transforms.transpose(1, 2).reshape(-1, basis.shape[1])
        return (rows @ basis.T).unflatten(0, (-1, 3)).transpose(1, 2)
    blended = weights @ torch.cat([world.flatten(-2), transforms[..., 3]], -1)
    turned = blended[..., :9].unflatten(-1, (3, 3)) @ vertices[..., None]
    return turned[..., 0] + blended[..., 9:]
