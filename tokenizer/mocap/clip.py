"""One motion clip in SMPL joints, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Clip:
    """pose_body (n,21,3), root (n,3): axis-angle, radians, magnitude ≤ π; translation (n,3) metres; betas (k,).

    ``fps`` is the file's own frame rate; ``up`` the axis that points up in the world of ``root`` and ``translation``.
    """

    pose_body: np.ndarray
    root: np.ndarray
    translation: np.ndarray
    betas: np.ndarray
    fps: float
    gender: str
    up: Literal["y", "z", "unknown"]


def canonical(axis_angle: np.ndarray) -> np.ndarray:
    """(...,3) of any magnitude → the same rotations with magnitude at most π."""
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    if not (angle > np.pi).any():
        return axis_angle
    wrapped = np.remainder(angle + np.pi, 2 * np.pi) - np.pi
    return np.where(angle > np.pi, axis_angle * (wrapped / np.maximum(angle, 1e-12)), axis_angle)
