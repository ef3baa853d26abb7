"""Forward kinematics and linear blend skinning: one short differentiable pair of functions for every body.

Loper et al., SMPL (SIGGRAPH Asia 2015), equations 2-4, without pose blend shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tree:
    """A kinematic tree cut by depth, so that all joints of a depth turn in one product."""

    joints: tuple[tuple[int, ...], ...]
    parents: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, parents: tuple[int, ...]) -> Tree:
        """From parents (−1: root); a parent must come before its children."""
        depth: list[int] = []
        for parent in parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        levels = [tuple(j for j, d in enumerate(depth) if d == level) for level in range(max(depth) + 1)]
        above = [tuple(levels[i].index(parents[j]) for j in level) for i, level in enumerate(levels[1:])]
        flat = [joint for level in levels for joint in level]
        return cls(tuple(levels), tuple(above), tuple(flat.index(j) for j in range(len(parents))))


def forward_kinematics(rotations: Tensor, rest: Tensor, tree: Tree, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Local rotations (B,J,3,3), rest joints (B or 1,J,3) → world rotations (B,J,3,3) and positions (B,J,3)."""
    bones = torch.cat([rest[:, :1], rest[:, 1:] - rest[:, list(parents[1:])]], 1)
    bones = bones.expand(len(rotations), -1, -1)[..., None]
    turned, placed = [rotations[:, tree.joints[0]]], [bones[:, tree.joints[0]]]
    for joints, above in zip(tree.joints[1:], tree.parents, strict=True):
        turn, place = turned[-1][:, above], placed[-1][:, above]
        placed.append(place + turn @ bones[:, joints])
        turned.append(turn @ rotations[:, joints])
    order = list(tree.order)
    return torch.cat(turned, 1)[:, order], torch.cat(placed, 1)[:, order, :, 0]


def skin(vertices: Tensor, weights: Tensor, rest: Tensor, world: Tensor, positions: Tensor) -> Tensor:
    """Rest vertices (B or 1,S,3), weights (S,J), rest joints (B or 1,J,3), posed joints → posed vertices (B,S,3)."""
    offsets = positions - (world @ rest[..., None])[..., 0]
    transforms = torch.cat([world.flatten(-2), offsets], -1)
    blended = weights @ transforms
    turned = blended[..., :9].unflatten(-1, (3, 3)) @ vertices[..., None]
    return turned[..., 0] + blended[..., 9:]
