"""Reads AMASS-layout npz: SMPL-H (156 numbers a frame), SMPL-X (165), and BEDLAM's motion files.

Mahmood et al., AMASS (ICCV 2019). Hands, face and soft tissue are left out; root and translation are kept in the clip.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from ..engine.errors import fail
from .clip import Clip, canonical

_WIDTHS = {156: "SMPL-H", 165: "SMPL-X"}
_NOT_MOTION = re.compile(r"(^|_)stagei$|^shape$|^neutral_stagei$|^(male|female|neutral)_stagei$")


def holds_no_motion(path: Path) -> bool:
    """Files that AMASS ships beside the motion: body shape fits without poses."""
    return bool(_NOT_MOTION.search(path.stem))


def read_amass(path: str | Path) -> Clip:
    """Read one clip.

    Raises ``UserError`` saying what is wrong: damaged, pickled objects, a missing key, a width that is neither SMPL-H
    nor SMPL-X, numbers that are not finite, or a frame rate that is absent or not positive.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            poses = file["poses"] if "poses" in file.files else None
            rates = [key for key in ("mocap_framerate", "mocap_frame_rate") if key in file.files]
            fps = float(file[rates[0]]) if rates else 0.0
            gender = _text(file["gender"]) if "gender" in file.files else "neutral"
            betas = np.asarray(file["betas"], dtype=np.float32).reshape(-1) if "betas" in file.files else np.zeros(10)
            trans = np.asarray(file["trans"], dtype=np.float32) if "trans" in file.files else None
            float32_betas = "betas" in file.files and file["betas"].dtype == np.float32
            frame_rate_is_int = bool(rates) and np.issubdtype(file[rates[0]].dtype, np.integer)
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise fail(f"Cannot read {path}", got=reason, expected="an npz of plain arrays") from None
    if poses is None:
        raise fail(f"{path} holds no poses", expected="the key 'poses'")
    if poses.ndim != 2 or poses.shape[1] not in _WIDTHS or not np.issubdtype(poses.dtype, np.number):
        raise fail(f"{path} has poses of an unknown layout", got=f"{poses.dtype} {poses.shape}",
                   expected="(N, 156) for SMPL-H or (N, 165) for SMPL-X")  # fmt: skip
    if not len(poses):
        raise fail(f"{path} holds no frames")
    if not np.isfinite(fps) or fps <= 0:
        raise fail(f"{path} has no usable frame rate", got=fps if rates else "no frame rate",
                   expected="mocap_framerate or mocap_frame_rate above 0")  # fmt: skip
    body = poses[:, :66].astype(np.float32)
    trans = np.zeros((len(poses), 3), dtype=np.float32) if trans is None else trans
    if not np.isfinite(body).all() or not np.isfinite(trans).all():
        bad = int((~np.isfinite(body).all(1)).argmax())
        raise fail(f"{path} holds numbers that are not finite", got=f"first in frame {bad}")
    if trans.shape != (len(poses), 3):
        raise fail(f"{path} has a translation of another length", got=trans.shape, expected=(len(poses), 3))
    up: Literal["y", "z"] = "y" if poses.shape[1] == 165 and float32_betas and frame_rate_is_int else "z"
    rotations = canonical(body.reshape(-1, 22, 3))
    return Clip(rotations[:, 1:], rotations[:, 0], trans, betas, fps, gender, up)


def _text(value: np.ndarray) -> str:
    item = value.item()
    return item.decode() if isinstance(item, bytes) else str(item)
