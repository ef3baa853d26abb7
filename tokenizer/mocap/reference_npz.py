"""Reads what TokenHMR's own preparation leaves behind: one npz a data set, of single poses without a clock."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ..engine.errors import fail
from ..engine.files.npz import read_npz
from .clip import Clip, checked_clip, shape_in_joints


def is_reference_npz(path: Path) -> bool:
    """Whether an npz names each frame, as those files do and clips of motion do not; False for a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
    return {"pose_body.npy", "name.npy"} <= names and "poses.npy" not in names


def read_reference_npz(path: str | Path) -> Clip:
    """Read ``pose_body`` (M,63) and ``betas`` (M,10); root and translation are not in the file and become zero.

    The frames were thinned out when the file was made, so the clip's ``fps`` is 0. Raises ``UserError`` for damage,
    another number of joints, or numbers that are not finite.
    """
    path = Path(path)
    arrays = read_npz(path, "prepared poses", ("pose_body", "betas"))
    body, betas = (arrays.get(key, np.zeros(0)) for key in ("pose_body", "betas"))
    if body.ndim != 2 or body.shape[1] != 63:
        raise fail(
            f"{path} has poses of another layout",
            got=f"pose_body {shape_in_joints(body)}",
            expected="pose_body (M, 63)",
        )
    if betas.ndim != 2:
        raise fail(f"{path} has no betas for its frames", got=betas.shape, expected=f"betas ({len(body)}, 10)")
    nothing = np.zeros((len(body), 3), dtype=body.dtype)
    return checked_clip(path, np.concatenate([nothing, body], 1), nothing, betas, fps=0.0)
