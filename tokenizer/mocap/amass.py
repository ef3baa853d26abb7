"""Reads AMASS-layout npz: SMPL-H (156 numbers a frame), SMPL-X (165), and BEDLAM's motion files.

Mahmood et al., AMASS (ICCV 2019). Hands, face and soft tissue are left out; root and translation are kept in the clip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from ..engine.errors import fail
from ..engine.npz import read_npz
from .clip import RATE_KEYS, Clip, checked_clip, checked_rate, shape_in_joints

_WIDTHS = {"smplh": 156, "smplx": 165}
_KEYS = ("poses", "root_orient", "pose_body", "trans", "betas", "gender", "surface_model_type", *RATE_KEYS)


def read_amass(path: str | Path) -> Clip:
    """Read one clip; where ``poses`` is absent, ``root_orient`` (N,3) and ``pose_body`` (N,63) serve.

    Raises ``UserError`` saying what is wrong: damaged, pickled objects, a missing key, a width that is neither SMPL-H
    nor SMPL-X or not what the file says, numbers that are not finite, or a frame rate that is absent or not positive.
    """
    path = Path(path)
    arrays = read_npz(path, "clip", _KEYS)
    fps = checked_rate(path, [arrays[key] for key in RATE_KEYS if key in arrays])
    poses = _root_and_body(arrays, path)
    trans = arrays.get("trans", np.zeros((len(poses), 3)))
    betas = np.asarray(arrays.get("betas", np.zeros(10))).reshape(-1)
    return checked_clip(path, poses, trans, betas, fps, _gender(arrays), _up(arrays))


def _root_and_body(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """(N,66): root, then the 21 body joints."""
    if "poses" in arrays:
        poses = arrays["poses"]
        said = str(arrays.get("surface_model_type", "")).lower()[:5]  # also "smplx_locked_head"
        widths = (_WIDTHS[said],) if said in _WIDTHS else tuple(_WIDTHS.values())
        if poses.ndim != 2 or poses.shape[1] not in widths:
            expected = " or ".join(f"(N, {width}) for {model}" for model, width in _WIDTHS.items() if width in widths)
            raise fail(f"{path} has poses of an unknown layout", got=shape_in_joints(poses), expected=expected)
        poses = poses[:, :66]
    elif "pose_body" in arrays:
        body = arrays["pose_body"]
        root = arrays.get("root_orient", np.zeros((*body.shape[:1], 3)))
        if body.ndim != 2 or body.shape[1] != 63 or root.shape != (*body.shape[:1], 3):
            raise fail(f"{path} has poses of an unknown layout", expected="pose_body (N, 63) and root_orient (N, 3)",
                       got=f"pose_body {shape_in_joints(body)} and root_orient {root.shape}")  # fmt: skip
        poses = np.concatenate([root, body], 1)
    else:
        raise fail(f"{path} holds no poses", expected="the key 'poses', or 'pose_body'")
    return poses


def _gender(arrays: dict[str, np.ndarray]) -> str:
    """Text or bytes, as different releases have it; neutral where it is not said."""
    said = np.asarray(arrays.get("gender", "neutral")).reshape(-1)
    word = said[0] if len(said) else "neutral"
    return (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).lower()


def _up(arrays: dict[str, np.ndarray]) -> Literal["y", "z"]:
    """AMASS is z-up. BEDLAM's y-up files have the same keys; an integer rate and float32 betas tell them apart."""
    kinds = [arrays[key].dtype for key in ("mocap_frame_rate", "betas") if key in arrays]
    return "y" if len(kinds) == 2 and np.issubdtype(kinds[0], np.integer) and kinds[1] == np.float32 else "z"
