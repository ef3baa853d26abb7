"""Whole clips to tokens and back: AMASS-layout npz in, npz of ids out, everything but the body pose carried through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .body.metrics import mpjpe
from .body.model import Body
from .body.rotations import axis_angle_to_matrix, geodesic_distance, matrix_to_axis_angle
from .body.skeleton import BODY_JOINT_NAMES, body_index
from .engine.errors import fail
from .engine.npz import read_npz, write_npz
from .frozen import FrozenTokenizer

_ROOT, _BODY = slice(0, 3), slice(3, 66)
_WIDTHS = (156, 165)
_BATCH = 4096
LIMBS = {
    f"{side}_{limb}": tuple(f"{side}_{joint}" for joint in joints)
    for side in ("left", "right")
    for limb, joints in (("arm", ("collar", "shoulder", "elbow", "wrist")), ("leg", ("hip", "knee", "ankle", "foot")))
} | {"trunk": ("spine1", "spine2", "spine3"), "head": ("neck", "head")}
"""Groups of joints that ``complete`` knows by one name."""


@dataclass(frozen=True)
class RoundTrip:
    """What tokens cost a clip: mean joint error and its 95th percentile over frames (mm), mean rotation error (deg)."""

    frames: int
    mpjpe_mm: float
    mpjpe_p95_mm: float
    rotation_deg: float


def encode_clip(tokenizer: FrozenTokenizer, clip: str | Path, out: str | Path, body: Body) -> RoundTrip:
    """Write the tokens of an AMASS-layout clip: ``tokens`` (N,T) and everything of the clip but its body pose.

    Returns the error of decoding them again. Raises ``UserError`` for a clip that cannot be read or is no AMASS layout.
    """
    arrays, poses = _read_clip(Path(clip))
    frames = poses[:, _BODY].astype(np.float32).reshape(-1, 21, 3)
    ids, errors, angles = [], [], []
    for rotations in _batches(tokenizer, frames):
        tokens = tokenizer.encode(rotations)
        decoded = tokenizer.decode(tokens)
        errors.append(1000 * mpjpe(body.joints(decoded)[:, 1:], body.joints(rotations)[:, 1:]))
        angles.append(geodesic_distance(decoded, rotations).mean(-1).rad2deg())
        ids.append(tokens.cpu().numpy())
    rest = {name: values for name, values in arrays.items() if name not in ("poses", "pose_body")}
    kept = np.delete(poses, np.r_[_BODY], axis=1)
    write_npz(out, {
        **rest, "tokens": np.concatenate(ids).astype(np.int32), "tokenizer": np.array(tokenizer.digest),
        "poses_but_body": kept, "has_pose_body": np.array("pose_body" in arrays),
    })  # fmt: skip
    error = torch.cat(errors)
    return RoundTrip(len(frames), float(error.mean()), float(error.quantile(0.95)), float(torch.cat(angles).mean()))


def decode_clip(tokenizer: FrozenTokenizer, tokens: str | Path, out: str | Path) -> int:
    """Write the AMASS-layout clip of what ``encode_clip`` wrote; returns its frames.

    Raises ``UserError`` for a file that is none, or was encoded by another tokenizer.
    """
    arrays = read_npz(tokens, "tokens")
    missing = [name for name in ("tokens", "tokenizer", "poses_but_body", "has_pose_body") if name not in arrays]
    if missing:
        raise fail(f"{tokens} holds no tokens of a clip", got=f"no {', '.join(missing)}",
                   next_step="Make it with `pose-tokenizer encode`")  # fmt: skip
    ids, kept = arrays.pop("tokens"), arrays.pop("poses_but_body")
    digest, has_body = str(arrays.pop("tokenizer")), bool(arrays.pop("has_pose_body"))
    if digest != tokenizer.digest:
        raise fail(f"{tokens} was encoded by another tokenizer", got=digest[:12], expected=tokenizer.digest[:12])
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer) or len(ids) != len(kept):
        raise fail(f"{tokens} is damaged", got=f"{ids.dtype} tokens {ids.shape} for {len(kept)} frames")
    device = tokenizer.codebook.device
    parts = [
        matrix_to_axis_angle(tokenizer.decode(torch.from_numpy(ids[i : i + _BATCH].astype(np.int64)).to(device)))
        for i in range(0, len(ids), _BATCH)
    ]
    body = torch.cat(parts).flatten(1).cpu().numpy().astype(kept.dtype)
    poses = np.concatenate([kept[:, _ROOT], body, kept[:, _ROOT.stop :]], 1)
    write_npz(out, {**arrays, "poses": poses, **({"pose_body": body} if has_body else {})})
    return len(poses)


def complete_clip(tokenizer: FrozenTokenizer, clip: str | Path, hidden: list[str], out: str | Path) -> int:
    """Write a clip whose ``hidden`` joints (names, or groups of ``LIMBS``) are guessed from the others; its frames.

    The joints that are not hidden stay as they are. Raises ``UserError`` for an unknown name or nothing left to see.
    """
    arrays, poses = _read_clip(Path(clip))
    visible = visible_joints(hidden)
    frames = poses[:, _BODY].astype(np.float32).reshape(-1, 21, 3)
    guessed = [
        matrix_to_axis_angle(complete(tokenizer, rotations, visible.to(rotations.device))).cpu().numpy()
        for rotations in _batches(tokenizer, frames)
    ]
    body = np.where(visible.numpy()[:, None], frames, np.concatenate(guessed)).reshape(len(frames), -1)
    new = poses.copy()
    new[:, _BODY] = body
    write_npz(out, {**arrays, "poses": new, **({"pose_body": body} if "pose_body" in arrays else {})})
    return len(new)


def complete(tokenizer: FrozenTokenizer, rotations: Tensor, visible: Tensor) -> Tensor:
    """Rotations (...,21,3,3) with only the ``visible`` (...,21) bool joints seen → whole poses (...,21,3,3)."""
    return tokenizer.decode(tokenizer.encode(rotations, visible))


def visible_joints(hidden: list[str]) -> Tensor:
    """(21,) bool: False for every joint named, or in a group of ``LIMBS`` that is. Raises ``UserError`` otherwise."""
    visible = torch.ones(len(BODY_JOINT_NAMES), dtype=torch.bool)
    for name in hidden:
        for joint in LIMBS.get(name, (name,)):
            visible[body_index(joint)] = False
    if not visible.any():
        raise fail("Every joint is hidden", next_step="Leave at least one to guess from")
    return visible


def _batches(tokenizer: FrozenTokenizer, frames: np.ndarray) -> Iterator[Tensor]:
    device = tokenizer.codebook.device
    for start in range(0, len(frames), _BATCH):
        yield axis_angle_to_matrix(torch.from_numpy(frames[start : start + _BATCH]).to(device))


def _read_clip(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    arrays = read_npz(path, "clip")
    poses = arrays.get("poses")
    if poses is None or poses.ndim != 2 or poses.shape[1] not in _WIDTHS or not len(poses):
        got = "no poses" if poses is None else f"poses {poses.shape}"
        raise fail(f"{path} is no AMASS-layout clip", got=got, expected="poses (N, 156) or (N, 165)")
    if not np.isfinite(poses).all():
        raise fail(f"{path} holds numbers that are not finite", got="in its poses")
    return arrays, poses
