"""Reads BVH motion with a joint map to SMPL's names; the map of the "DAZ-friendly" CMU conversion is built in.

Local rotations of such skeletons, whose rest is a T-pose facing +z, carry over to SMPL directly. Where several BVH
joints make one SMPL joint their rotations are multiplied in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..body.skeleton import BODY_JOINT_NAMES, JOINT_NAMES
from ..engine.errors import fail
from ..engine.text_files import read_json
from .clip import Clip

_SIDES = (("left", "l"), ("right", "r"))
_LIMBS = {
    "hip": ("Buttock", "Thigh"), "knee": ("Shin",), "ankle": ("Foot",), "collar": ("Collar",), "shoulder": ("Shldr",),
    "elbow": ("ForeArm",), "wrist": ("Hand",),
}  # fmt: skip
CMU_DAZ: dict[str, tuple[str, ...]] = {
    "pelvis": ("hip",), "spine1": ("abdomen",), "spine2": ("chest",), "neck": ("neck",), "head": ("head",),
    **{f"{side}_{joint}": tuple(s + bone for bone in bones) for side, s in _SIDES for joint, bones in _LIMBS.items()},
}  # fmt: skip
"""SMPL joint → BVH joints of the CMU "DAZ" skeleton; spine3 and feet rest."""

_METRES_PER_UNIT = 0.0254 / 0.45
"""CMU positions are in inches divided by 0.45."""

_T_POSE_RAD = 0.15
_LEAVES_T_POSE_RAD = 0.1


@dataclass
class _Joint:
    first_channel: int
    channels: list[str]


def read_joint_map(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A JSON object from SMPL joint names to a BVH joint name or a list of them. Raises ``UserError`` otherwise."""
    try:
        table = read_json(path)
        joint_map = {str(k): (v,) if isinstance(v, str) else tuple(map(str, v)) for k, v in table.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise fail(f"Cannot read joint map {path}", got=error, expected='JSON like {"left_knee": "lShin"}') from None
    unknown = sorted(set(joint_map) - set(JOINT_NAMES))
    if unknown:
        raise fail(f"Joint map {path} names joints that SMPL has not", got=", ".join(unknown))
    return joint_map


def read_bvh(
    path: str | Path, joint_map: dict[str, tuple[str, ...]] | None = None, *, metres_per_unit: float = _METRES_PER_UNIT
) -> Clip:
    """Read one clip, y-up. Positions are scaled by ``metres_per_unit`` (default: CMU's unit).

    A T-pose in front of the motion, which converters put there to show the rest pose, is left out. Raises
    ``UserError`` for a file that is not BVH, lacks mapped joints, or whose frame lines do not match its header (line
    and counts are named).
    """
    path, joint_map = Path(path), joint_map or CMU_DAZ
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"Cannot read {path}", got=error, expected="BVH text") from None
    joints, after = _hierarchy(lines, path)
    frames, seconds, first = _motion_header(lines, after, path)
    width = sum(len(joint.channels) for joint in joints.values())
    rows = [(number, line.split()) for number, line in enumerate(lines[first:], first + 1) if line.strip()]
    if len(rows) != frames:
        raise fail(f"{path} does not hold what line {after + 2} says", got=f"{len(rows)} frame lines", expected=frames)
    for number, row in rows:
        if len(row) != width:
            raise fail(f"{path} line {number} does not match its header", got=f"{len(row)} numbers", expected=width)
    try:
        values = np.array([row for _, row in rows], dtype=np.float64)
    except ValueError as error:
        raise fail(f"{path} holds something that is no number", got=error) from None
    if not frames or not np.isfinite(values).all():
        raise fail(f"{path} holds no frames, or numbers that are not finite")
    missing = sorted({bone for bones in joint_map.values() for bone in bones} - set(joints))
    if missing:
        raise fail(f"{path} lacks joints of the map", got=f"no {', '.join(missing)}",
                   expected=", ".join(sorted(joints)), next_step="Give a map of your own with --joint-map")  # fmt: skip
    body = np.zeros((frames, len(BODY_JOINT_NAMES), 3), dtype=np.float32)
    for column, name in enumerate(BODY_JOINT_NAMES):
        if name in joint_map:
            body[:, column] = _rotation(values, [joints[bone] for bone in joint_map[name]])
    root = joint_map.get("pelvis", ())
    turned = _rotation(values, [joints[bone] for bone in root]) if root else np.zeros((frames, 3), dtype=np.float32)
    moved = np.zeros((frames, 3), dtype=np.float32)
    if root:
        for axis, name in enumerate(("Xposition", "Yposition", "Zposition")):
            if name in joints[root[0]].channels:
                column = joints[root[0]].first_channel + joints[root[0]].channels.index(name)
                moved[:, axis] = values[:, column] * metres_per_unit
    first = int(_starts_with_t_pose(body))
    betas = np.zeros(10, dtype=np.float32)
    return Clip(body[first:], turned[first:], moved[first:], betas, 1 / seconds, "neutral", "y")


def _starts_with_t_pose(body: np.ndarray) -> bool:
    """Whether frame 0 rests in every joint and frame 1 has left that pose at once."""
    if len(body) < 2:
        return False
    leap = np.linalg.norm(body[1] - body[0], axis=-1).max()
    return bool(np.linalg.norm(body[0], axis=-1).max() < _T_POSE_RAD and leap > _LEAVES_T_POSE_RAD)


def _rotation(values: np.ndarray, joints: list[_Joint]) -> np.ndarray:
    total = Rotation.identity(len(values))
    for joint in joints:
        turns = [(i, name[0]) for i, name in enumerate(joint.channels) if name.endswith("rotation")]
        if turns:
            order = "".join(axis for _, axis in turns)
            angles = values[:, [joint.first_channel + i for i, _ in turns]]
            total = total * Rotation.from_euler(order, angles, degrees=True)
    return total.as_rotvec().astype(np.float32)


def _hierarchy(lines: list[str], path: Path) -> tuple[dict[str, _Joint], int]:
    if not lines or lines[0].strip() != "HIERARCHY":
        got = repr(lines[0][:40]) if lines else "an empty file"
        raise fail(f"{path} is no BVH file", got=got, expected="HIERARCHY")
    joints: dict[str, _Joint] = {}
    name, channel = "", 0
    for number, line in enumerate(lines):
        words = line.split()
        if words and words[0] in ("ROOT", "JOINT") and len(words) > 1:
            name = " ".join(words[1:])
            if name in joints:
                raise fail(f"{path} line {number + 1} repeats a joint", got=name, expected="a name of its own")
        elif words and words[0] == "CHANNELS":
            axes = [word[0].upper() for word in words[2:] if word[1:].lower() == "rotation"]
            places = sum(word[1:].lower() == "position" for word in words[2:])
            counted = len(words) > 1 and words[1] == str(len(words) - 2) == str(len(axes) + places)
            if not name or not counted or len(set(axes)) < len(axes) or not set(axes) <= set("XYZ"):
                raise fail(f"{path} line {number + 1} is broken", got=line.strip(),
                           expected="CHANNELS n and n names such as Xposition or Zrotation, after a joint")  # fmt: skip
            joints[name] = _Joint(channel, [word[0].upper() + word[1:].lower() for word in words[2:]])
            channel += len(words) - 2
        elif words and words[0] == "MOTION":
            return joints, number
    raise fail(f"{path} has no motion", expected="a line MOTION")


def _motion_header(lines: list[str], start: int, path: Path) -> tuple[int, float, int]:
    try:
        frames = int(lines[start + 1].split("Frames:")[1])
        seconds = float(lines[start + 2].split("Frame Time:")[1])
    except (IndexError, ValueError):
        raise fail(f"{path} line {start + 2} is broken", expected="Frames: n, then Frame Time: s") from None
    if not 0 < seconds < float("inf"):
        raise fail(f"{path} has no usable frame rate", got=f"Frame Time: {seconds}", expected="above 0")
    return frames, seconds, start + 3
