"""Reads pickles of MoSh++, as MOYO has them, and MOYO's SMPL fits; nothing in them is run.

Tripathi et al., 3D Human Pose Estimation via Intuitive Physics (CVPR 2023); Loper et al., MoSh (SIGGRAPH Asia 2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.errors import UserError, fail
from ..engine.safe_pickle import as_array, load_pickle
from .clip import RATE_KEYS, Clip, checked_clip, checked_rate, shape_in_joints

MOYO_FPS = 60.0
"""MOYO's motion capture; its SMPL fits do not state it, the MoSh++ files of the same clips do."""


@dataclass(frozen=True)
class _Layout:
    """``root`` is the key of the root (n,3) where ``poses`` (n,width) begin with the first body joint; ``fps`` is that
    of files that state none, 0 where they must."""

    poses: str
    width: int
    translation: str
    betas: str
    root: str = ""
    fps: float = 0.0


_LAYOUTS = (
    _Layout("fullpose", 165, "trans", "betas"),
    _Layout("pose_est_fullposes", 156, "pose_est_trans", "shape_est_betas"),
    _Layout("body_pose", 69, "transl", "betas", root="global_orient", fps=MOYO_FPS),
)


def read_moyo(path: str | Path) -> Clip:
    """Read one clip: MoSh++'s ``fullpose`` (N,165), its older ``pose_est_fullposes`` (N,156), or MOYO's SMPL fits,
    ``global_orient`` (N,3) and ``body_pose`` (N,69). Gender is neutral where it is not said; the up axis is unknown.

    Raises ``UserError`` saying what is wrong: a pickle that asks for code, damage, poses of another number of joints, a
    frame rate that is 0, or absent where the layout has one, numbers that are not finite.
    """
    path = Path(path)
    content = load_pickle(path)
    layout = next((one for one in _LAYOUTS if isinstance(content, dict) and one.poses in content), None)
    if layout is None:
        expected = "a dictionary with " + ", ".join(one.poses for one in _LAYOUTS[:-1]) + f" or {_LAYOUTS[-1].poses}"
        raise fail(f"{path} holds no motion known here", got=_keys(content), expected=expected)
    poses = _array(content, layout.poses, path)
    if poses.ndim != 2 or poses.shape[1] != layout.width:
        raise fail(f"{path} has poses of another layout", got=f"{layout.poses} {shape_in_joints(poses)}",
                   expected=f"(N, {layout.width})")  # fmt: skip
    if layout.root:
        root = _array(content, layout.root, path)
        if root.shape != (len(poses), 3):
            raise fail(f"{path} has a root of another length", got=root.shape, expected=(len(poses), 3))
        poses = np.concatenate([root, poses], 1)
    stated = list(_stated_rates(content))
    fps = checked_rate(path, stated) if stated or not layout.fps else layout.fps
    translation, betas = (_array(content, key, path) for key in (layout.translation, layout.betas))
    return checked_clip(path, poses[:, :66], translation, betas, fps, _gender(content.get("gender")))


def _array(content: dict[str, Any], key: str, path: Path) -> np.ndarray:
    if key not in content:
        raise fail(f"{path} is incomplete", got=_keys(content), expected=key)
    try:
        return as_array(content[key])
    except UserError as error:
        raise UserError(f"{path}: {key}: {error}") from None


def _stated_rates(content: dict[str, Any]) -> Iterator[object]:
    """What the file says of its rate, itself or in the notes of the fit that it carries."""
    for part in (content, *(value for value in content.values() if isinstance(value, dict))):
        yield from (part[key] for key in RATE_KEYS if key in part)


def _gender(said: object) -> str:
    word = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return word.lower() if word.lower() in ("male", "female") else "neutral"


def _keys(content: object) -> str:
    return f"keys {', '.join(map(str, content))}"[:200] if isinstance(content, dict) else type(content).__name__
