"""One motion clip in SMPL joints, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..engine.errors import fail

RATE_KEYS = ("mocap_framerate", "mocap_frame_rate")
"""What the makers' files call frames a second."""

BEYOND = 1e9
"""No angle, place or shape is as large; its square still fits float32."""

_JOINTS = {22: "a body without hands", 24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}


@dataclass(frozen=True)
class Clip:
    """pose_body (n,21,3), root (n,3): axis-angle, radians, magnitude ≤ π; translation (n,3) metres; betas (k,),
    or (n,k) where the frames are of several people.

    ``fps`` is the file's own frame rate, 0 for single poses that make no motion; ``up`` the axis that points up in the
    world of ``root`` and ``translation``; ``notes``: assumptions about what the file lacks, in plain words.
    """

    pose_body: np.ndarray
    root: np.ndarray
    translation: np.ndarray
    betas: np.ndarray
    fps: float
    gender: str
    up: Literal["y", "z", "unknown"]
    notes: tuple[str, ...] = ()


def checked_clip(
    path: Path,
    poses: np.ndarray,
    translation: np.ndarray,
    betas: np.ndarray,
    fps: float,
    gender: str = "neutral",
    up: Literal["y", "z", "unknown"] = "unknown",
    notes: tuple[str, ...] = (),
) -> Clip:
    """A clip of ``poses`` (n,66), root and body joints in axis-angle, read from ``path``.

    Raise ``UserError`` for no frames, a translation or betas of another length, and values that are not finite numbers
    (the first frame is named).
    """
    translation, betas = np.asarray(translation), np.asarray(betas)
    if not len(poses):
        raise fail(f"{path} holds no frames")
    if translation.shape != (len(poses), 3):
        raise fail(f"{path} has a translation of another length", got=translation.shape, expected=(len(poses), 3))
    if betas.ndim not in (1, 2) or (betas.ndim == 2 and len(betas) != len(poses)):
        raise fail(f"{path} has betas of another length", got=betas.shape, expected=f"(k,) or ({len(poses)}, k)")
    for name, values in (("poses", poses), ("trans", translation), ("betas", betas)):
        if values.dtype.kind not in "iuf":
            raise fail(f"{path} has {name} that are not numbers", got=values.dtype)
        finite = np.abs(values.astype(np.float64)) < BEYOND
        if not finite.all():
            first = int((~finite).reshape(len(values), -1).any(1).argmax())
            where = f"beta {first}" if values is betas and betas.ndim == 1 else f"first in frame {first}"
            raise fail(f"{path} has {name} that are not finite", got=where, expected=f"all below {BEYOND:g}")
    rotations = canonical(poses.astype(np.float32).reshape(-1, 22, 3))
    return Clip(
        pose_body=rotations[:, 1:],
        root=rotations[:, 0],
        translation=translation.astype(np.float32),
        betas=betas.astype(np.float32),
        fps=fps,
        gender=gender,
        up=up,
        notes=notes,
    )


def checked_rate(path: Path, stated: list[object]) -> float:
    """Frames a second, the first number among what a file states. Raise ``UserError`` where none is above 0."""
    values = [np.asarray(value) for value in stated]
    numeric = [value for value in values if value.size == 1 and value.dtype.kind in "iuf"]
    fps = float(numeric[0].reshape(-1)[0]) if numeric else 0.0
    if not np.isfinite(fps) or fps <= 0:
        raise fail(
            f"{path} has no usable frame rate",
            got=values[0] if values else "no frame rate",
            expected=f"{' or '.join(RATE_KEYS)} above 0",
        )
    return fps


def shape_in_joints(poses: np.ndarray) -> str:
    """The shape of a misshapen array of poses, and how many joints that is: ``(9, 72), 24 joints as in SMPL``."""
    width = int(np.prod(poses.shape[1:]))
    if poses.ndim < 2 or width % 3:
        return str(poses.shape)
    made_by = f" as in {_JOINTS[width // 3]}" if width // 3 in _JOINTS else ""
    return f"{poses.shape}, {width // 3} joints{made_by}"


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
