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


_FASTEST = np.radians(1440)


def jumping_frames(pose_body: np.ndarray, fps: float) -> np.ndarray:
    """(n,J,3) axis-angle → (n,) bool: frames in which a joint turns faster than 1440° a second.

    Single frames of a kick or a throw reach that; where many do, markers were lost or swapped.
    """
    limit = _FASTEST / fps
    apart = np.linalg.norm(np.diff(pose_body, axis=0), axis=-1)
    frame, joint = np.nonzero(apart > limit)  # no two rotations are farther apart than their axis-angle vectors
    before, after = _quaternion(pose_body[frame, joint]), _quaternion(pose_body[frame + 1, joint])
    cosine = np.abs((before * after).sum(-1)).clip(max=1)
    jumping = np.zeros(len(pose_body), dtype=bool)
    jumping[frame[2 * np.arccos(cosine) > limit] + 1] = True
    return jumping


def _quaternion(axis_angle: np.ndarray) -> np.ndarray:
    half = np.linalg.norm(axis_angle, axis=-1, keepdims=True) / 2
    return np.concatenate([np.cos(half), axis_angle * 0.5 * np.sinc(half / np.pi)], -1)
