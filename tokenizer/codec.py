"""Whole clips to tokens and back: any motion in, npz of ids out, everything but the body pose carried through.

Clips in AMASS's layout go through in parts, so that hours take no more memory than minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from .body.metrics import mpjpe, quantile
from .body.model import Body
from .body.rotations import axis_angle_to_matrix, geodesic_distance, matrix_to_axis_angle
from .body.skeleton import BODY_JOINT_NAMES, LIMBS, body_index
from .engine.errors import fail
from .engine.files.atomic import write_atomically
from .engine.files.npz import read_npz
from .engine.files.npz_streams import NpzReader, NpzWriter
from .engine.files.own_inputs import refuse_own_inputs
from .frozen import FrozenTokenizer
from .mocap.clip_file import BATCH, BODY, open_clip
from .mocap.joint_maps import JointMap

PARTS = LIMBS | {"trunk": ("spine1", "spine2", "spine3"), "head": ("neck", "head")}
"""Groups of joints that ``complete`` knows by one name."""


@dataclass(frozen=True)
class RoundTrip:
    """What tokens cost a clip: mean joint error and its 95th percentile over frames (mm), mean rotation error (deg).

    ``notes``: what was assumed of the clip's file, or left out of it."""

    frames: int
    mpjpe_mm: float
    mpjpe_p95_mm: float
    rotation_deg: float
    notes: tuple[str, ...] = ()


def encode_clip(
    tokenizer: FrozenTokenizer, clip: str | Path, out: str | Path, body: Body, joint_map: JointMap | None = None
) -> RoundTrip:
    """Write the tokens of any motion that ``read_clip`` knows: ``tokens`` (N,T) and all of the clip but its body pose.

    Clips in AMASS's layout are read and written in parts, however long they are. Returns the error of decoding the
    tokens again. Raise ``UserError`` for a clip that cannot be read, holds numbers that are not finite, or is ``out``.
    """
    refuse_own_inputs(out, clip)
    errors: list[Tensor] = []
    angles: list[Tensor] = []

    def tokens_of(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for part in parts:
            rotations = _rotations(tokenizer, part)
            tokens = tokenizer.encode(rotations)
            decoded = tokenizer.decode(tokens)
            error = 1000 * mpjpe(body.joints(decoded)[:, 1:], body.joints(rotations)[:, 1:])
            errors.append(error.cpu())
            angles.append(geodesic_distance(decoded, rotations).mean(-1).rad2deg().cpu())
            yield tokens.cpu().numpy()

    with open_clip(clip, joint_map) as source:

        def write(file: IO[bytes]) -> None:
            with NpzWriter(file) as writer:
                shape = (source.frames, tokenizer.num_tokens)
                writer.rows("tokens", shape, np.dtype(np.int32), tokens_of(source.parts()))
                other_columns = (np.delete(part, np.r_[BODY], axis=1) for part in source.parts())
                writer.rows("poses_but_body", (source.frames, source.width - 63), source.dtype, other_columns)
                writer.array("tokenizer", np.array(tokenizer.digest))
                writer.array("has_pose_body", np.array(source.has_body))
                source.carry(writer)

        write_atomically(out, write)
    error = torch.cat(errors)
    return RoundTrip(
        source.frames, float(error.mean()), quantile(error, 0.95), float(torch.cat(angles).mean()), source.notes
    )


def decode_clip(tokenizer: FrozenTokenizer, tokens: str | Path, out: str | Path) -> int:
    """Write the AMASS-layout clip of what ``encode_clip`` wrote, in parts; returns its frames.

    Raise ``UserError`` for a file that is none, or was encoded by another tokenizer.
    """
    refuse_own_inputs(out, tokens)
    with NpzReader(tokens, "tokens") as reader:
        own = ("tokens", "tokenizer", "poses_but_body", "has_pose_body")
        missing = [name for name in own if name not in reader.headers]
        if missing:
            raise fail(
                f"{tokens} holds no tokens of a clip",
                got=f"no {', '.join(missing)}",
                next_step="Make it with `pose-tokenizer encode`",
            )
        small = read_npz(tokens, "tokens", ("tokenizer", "has_pose_body"))
        digest, has_body = str(small["tokenizer"]), bool(small["has_pose_body"])
        if digest != tokenizer.digest:
            raise fail(f"{tokens} was encoded by another tokenizer", got=digest[:12], expected=tokenizer.digest[:12])
        ids, other_header = reader.headers["tokens"], reader.headers["poses_but_body"]
        width = other_header.shape[1] + 63 if len(other_header.shape) == 2 else 0
        if (
            ids.dtype.kind not in "iu"
            or ids.shape[1:] != (tokenizer.num_tokens,)
            or width not in (156, 165)
            or other_header.dtype.kind != "f"
            or other_header.shape[0] != ids.shape[0]
        ):
            got = f"{ids.dtype} tokens {ids.shape} and {other_header.dtype} poses_but_body {other_header.shape}"
            raise fail(f"{tokens} is damaged", got=got, expected=f"tokens (N, {tokenizer.num_tokens}) of a clip")
        frames = ids.shape[0]

        def bodies() -> Iterator[np.ndarray]:
            for part in reader.rows("tokens", BATCH):
                numbers = torch.from_numpy(part.astype(np.int64)).to(tokenizer.codebook.device)
                yield matrix_to_axis_angle(tokenizer.decode(numbers)).flatten(1).cpu().numpy()

        def poses() -> Iterator[np.ndarray]:
            for others, body in zip(reader.rows("poses_but_body", BATCH), bodies(), strict=True):
                yield np.concatenate([others[:, :3], body, others[:, 3:]], 1)

        def write(file: IO[bytes]) -> None:
            with NpzWriter(file) as writer:
                writer.rows("poses", (frames, width), other_header.dtype, poses())
                if has_body:
                    writer.rows("pose_body", (frames, 63), other_header.dtype, bodies())
                for name, header in reader.headers.items():
                    if name not in own and not header.dtype.hasobject:
                        writer.copy(name, reader)

        write_atomically(out, write)
    return frames


def complete_clip(
    tokenizer: FrozenTokenizer, clip: str | Path, hidden: list[str], out: str | Path, joint_map: JointMap | None = None
) -> tuple[int, tuple[str, ...]]:
    """Write a clip whose ``hidden`` joints (names, or groups of ``PARTS``) are guessed from the others.

    The joints that are not hidden stay as they are. Takes any motion that ``read_clip`` knows, as ``encode_clip``.
    Returns its frames and what was assumed of it. Raise ``UserError`` for an unknown name or nothing left to see.
    """
    refuse_own_inputs(out, clip)
    visible = visible_joints(hidden)
    visible_columns = np.repeat(visible.numpy(), 3)

    with open_clip(clip, joint_map) as source:

        def completed() -> Iterator[np.ndarray]:
            for part in source.parts():
                rotations = _rotations(tokenizer, part)
                guessed = matrix_to_axis_angle(complete(tokenizer, rotations, visible.to(rotations.device)))
                new = part.copy()
                new[:, BODY] = np.where(visible_columns, part[:, BODY], guessed.flatten(1).cpu().numpy())
                yield new

        def write(file: IO[bytes]) -> None:
            with NpzWriter(file) as writer:
                writer.rows("poses", (source.frames, source.width), source.dtype, completed())
                if source.has_body:
                    body = (part[:, BODY] for part in completed())
                    writer.rows("pose_body", (source.frames, 63), source.dtype, body)
                source.carry(writer)

        write_atomically(out, write)
        return source.frames, source.notes


def complete(tokenizer: FrozenTokenizer, rotations: Tensor, visible: Tensor) -> Tensor:
    """Rotations (...,21,3,3) with only the ``visible`` (...,21) bool joints seen → whole poses (...,21,3,3)."""
    return tokenizer.decode(tokenizer.encode(rotations, visible))


def visible_joints(hidden: list[str]) -> Tensor:
    """(21,) bool: False for every joint named, or in a group of ``PARTS`` that is. Raise ``UserError`` otherwise."""
    visible = torch.ones(len(BODY_JOINT_NAMES), dtype=torch.bool)
    for name in hidden:
        for joint in PARTS.get(name, (name,)):
            visible[body_index(joint)] = False
    if not visible.any():
        raise fail("Every joint is hidden", next_step="Leave at least one to guess from")
    return visible


def _rotations(tokenizer: FrozenTokenizer, poses: np.ndarray) -> Tensor:
    """(n, 156 or 165) axis-angle → (n,21,3,3) rotations of the body, on the tokenizer's device."""
    body = torch.from_numpy(poses[:, BODY].astype(np.float32)).view(-1, 21, 3)
    return axis_angle_to_matrix(body.to(tokenizer.codebook.device))
