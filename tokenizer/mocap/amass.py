"""Reads AMASS-layout npz: SMPL-H (156 numbers a frame), SMPL-X (165), and BEDLAM's motion files.

Mahmood et al., AMASS (ICCV 2019). Hands, face and soft tissue are left out; root and translation are kept in the clip.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np

from ..engine.errors import fail
from ..engine.npz import read_npz
from .clip import Clip, canonical

_WIDTHS = {156: "SMPL-H", 165: "SMPL-X"}
_RATES = ("mocap_framerate", "mocap_frame_rate")
_KEYS = ("poses", "root_orient", "pose_body", "trans", "betas", "gender", *_RATES)
_NOT_MOTION = re.compile(r"(^|_)(stagei|shape)$")


def holds_no_motion(path: Path) -> bool:
    """Files that AMASS ships beside the motion: body shape fits without poses."""
    return bool(_NOT_MOTION.search(path.stem))


def read_amass(path: str | Path) -> Clip:
    """Read one clip; where ``poses`` is absent, ``root_orient`` (N,3) and ``pose_body`` (N,63) serve.

    Raises ``UserError`` saying what is wrong: damaged, pickled objects, a missing key, a width that is neither SMPL-H
    nor SMPL-X, numbers that are not finite, or a frame rate that is absent or not positive.
    """
    path = Path(path)
    arrays = read_npz(path, "clip", _KEYS)
    fps = _frame_rate(arrays, path)
    poses = _root_and_body(arrays, path)
    trans = np.asarray(arrays.get("trans", np.zeros((len(poses), 3))))
    betas = np.asarray(arrays.get("betas", np.zeros(10))).reshape(-1)
    if trans.shape != (len(poses), 3):
        raise fail(f"{path} has a translation of another length", got=trans.shape, expected=(len(poses), 3))
    for name, values in (("poses", poses), ("trans", trans), ("betas", betas)):
        if not np.issubdtype(values.dtype, np.number):
            raise fail(f"{path} has {name} that are no numbers", got=values.dtype)
        if not np.isfinite(values).all():
            first = int((~np.isfinite(values)).reshape(len(values), -1).any(1).argmax())
            where = f"first in frame {first}" if name != "betas" else f"beta {first}"
            raise fail(f"{path} has {name} that are not finite", got=where)
    rotations = canonical(poses.astype(np.float32).reshape(-1, 22, 3))
    return Clip(
        pose_body=rotations[:, 1:], root=rotations[:, 0], translation=trans.astype(np.float32),
        betas=betas.astype(np.float32), fps=fps, gender=_gender(arrays), up=_up(arrays),
    )  # fmt: skip


def _frame_rate(arrays: dict[str, np.ndarray], path: Path) -> float:
    found = [arrays[key] for key in _RATES if key in arrays]
    numeric = [value for value in found if value.size == 1 and np.issubdtype(value.dtype, np.number)]
    fps = float(numeric[0].reshape(-1)[0]) if numeric else 0.0
    if not np.isfinite(fps) or fps <= 0:
        raise fail(f"{path} has no usable frame rate", got=found[0] if found else "no frame rate",
                   expected=f"{' or '.join(_RATES)} above 0")  # fmt: skip
    return fps


def _root_and_body(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """(N,66): root, then the 21 body joints."""
    if "poses" in arrays:
        poses = arrays["poses"]
        if poses.ndim != 2 or poses.shape[1] not in _WIDTHS:
            raise fail(f"{path} has poses of an unknown layout", got=poses.shape,
                       expected="(N, 156) for SMPL-H or (N, 165) for SMPL-X")  # fmt: skip
        poses = poses[:, :66]
    elif "pose_body" in arrays:
        body = arrays["pose_body"]
        root = arrays.get("root_orient", np.zeros((len(body), 3)))
        if body.ndim != 2 or body.shape[1] != 63 or root.shape != (len(body), 3):
            raise fail(f"{path} has poses of an unknown layout", got=f"pose_body {body.shape}, root {root.shape}",
                       expected="pose_body (N, 63) and root_orient (N, 3)")  # fmt: skip
        poses = np.concatenate([root, body], 1)
    else:
        raise fail(f"{path} holds no poses", expected="the key 'poses', or 'pose_body'")
    if not len(poses):
        raise fail(f"{path} holds no frames")
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
