"""Which reader a file of mocap needs, by its suffix and content."""

from __future__ import annotations

import re
from pathlib import Path

from .amass import read_amass
from .asf_amc import read_amc
from .bvh import read_bvh
from .clip import Clip
from .joint_maps import JointMap
from .moyo import read_moyo
from .reference_npz import is_reference_npz, read_reference_npz

SUFFIXES = (".npz", ".pkl", ".bvh", ".amc")
_NOT_MOTION = re.compile(r"(^|_)(stagei|shape)$")


def holds_no_motion(path: Path) -> bool:
    """Files that AMASS and MOYO ship beside the motion: body shape fits without poses."""
    return bool(_NOT_MOTION.search(path.stem))


def read_clip(path: Path, joint_map: JointMap | None = None) -> Clip:
    """Read one clip of any format known; ``joint_map`` serves BVH and AMC. Raises the readers' ``UserError``."""
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return read_bvh(path, joint_map)
    if suffix == ".amc":
        return read_amc(path, joint_map)
    if suffix == ".pkl":
        return read_moyo(path)
    return read_reference_npz(path) if is_reference_npz(path) else read_amass(path)
