"""The one reader of motion that every command uses: the suffix and the content of a file choose its reader."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from ..engine.errors import fail
from ..engine.files.npz import read_npz
from .asf_amc import read_amc
from .bvh import read_bvh
from .clip import Clip, checked_clip, shape_in_joints
from .content import open_content
from .joint_maps import JointMap
from .parameters import read_parameters

SUFFIXES = (".npz", ".pkl", ".bvh", ".amc", ".npy", ".pt", ".pth")
EXPECTED = "motion: npz, pkl, pt or npy of SMPL parameters, BVH, or AMC with its ASF"
_NOT_MOTION = re.compile(r"(^|_)(stagei|shape)$")

_SIGNATURES = {
    rb"\xff\xd8\xff": "a JPEG picture",
    rb"\x89PNG": "a PNG picture",
    rb"GIF8": "a GIF picture",
    rb"RIFF....WEBP": "a WebP picture",
    rb"RIFF....AVI ": "an AVI video",
    rb"....ftyp(hei|hev|mif)": "a HEIC picture",
    rb"....ftypavi": "an AVIF picture",
    rb"....ftyp": "an MP4 or MOV video",
    rb"BM.{4}\0{4}": "a BMP picture",
    rb"\x1a\x45\xdf\xa3": "a Matroska or WebM video",
    rb"(II\*\0|MM\0\*)": "a TIFF picture",
    rb"\x89HDF": "an HDF5 file, such as a pose store",
    rb"Kaydara FBX": "an FBX file",
    rb"glTF": "a glTF file",
    rb"%PDF": "a PDF",
}
"""How files begin that people take for motion, the more special ones first."""


def holds_no_motion(path: Path) -> bool:
    """Files that AMASS and MOYO ship with the motion: body shape fits without poses."""
    return bool(_NOT_MOTION.search(path.stem))


def read_clip(path: str | Path, joint_map: JointMap | None = None) -> Clip:
    """Read one clip of any format known; ``joint_map`` serves BVH and AMC.

    Raise ``UserError`` for a file of another kind, with what it is, and that of the readers.
    """
    path = Path(path)
    refuse_other_kinds(path)
    suffix = path.suffix.lower()
    if suffix == ".bvh":
        return read_bvh(path, joint_map)
    if suffix == ".amc":
        return read_amc(path, joint_map)
    if suffix == ".npz" and is_reference_npz(path):
        return read_reference_npz(path)
    return read_parameters(path, open_content(path))


def refuse_other_kinds(path: Path) -> None:
    """Raise ``UserError`` for a path that is no file or whose content no reader takes, by its true name."""
    if not path.is_file():
        raise fail(f"No file at {path}" if not path.exists() else f"{path} is no file", expected=EXPECTED)
    with path.open("rb") as file:
        start = file.read(64)
    kind = next((name for pattern, name in _SIGNATURES.items() if re.match(pattern, start, re.DOTALL)), None)
    known = path.suffix.lower() in SUFFIXES
    if path.suffix.lower() == ".asf":
        raise fail(f"{path} is a skeleton without motion", expected="the .amc file that moves it")
    if kind is None and start and known:
        return
    kind = kind or ("an empty file" if not start else f"a {path.suffix or 'nameless'} file")
    step = "People in pictures and videos are for `pose-regressor predict`" if kind[-5:] in ("cture", "video") else None
    raise fail(f"{path} is no motion", got=kind, expected=EXPECTED, next_step=step)


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

    The frames were thinned out when the file was made, so the clip's ``fps`` is 0. Raise ``UserError`` for damage,
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
