"""Motion of any skeleton carried to SMPL's joints: rest poses are measured by the offsets and made SMPL's T-pose.

1. Rotations down the skeleton are joined into one a SMPL joint; joints that no map names go to the next one below.
2. The rest pose, all rotations zero, is compared with a T-pose: facing z, arms along ±x, legs down.
3. What differs is taken out: a joint's rotation becomes that from SMPL's T-pose. A rest pose that is no standing pose,
   such as all bones along x, says nothing of how bones are turned about themselves: then a first frame in a T-pose
   tells it, and without one the file is refused.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from ..body.skeleton import BODY_JOINT_NAMES, JOINT_NAMES, PARENTS
from ..engine.errors import fail
from .joint_maps import JointMap

_DOWN, _UP, _FORWARD = np.array([0.0, -1, 0]), np.array([0.0, 1, 0]), np.array([0.0, -0.35, 0.94])


def _t_pose() -> dict[str, tuple[str, np.ndarray]]:
    """SMPL joint → the joint at the other end of its bone, and where that bone points in a T-pose."""
    trunk = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
    bones = {joint: (after, _UP) for joint, after in itertools.pairwise(trunk)}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        arm, leg = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
        out = np.array([sign, 0, 0])
        bones |= {f"{side}_{a}": (f"{side}_{b}", out) for a, b in itertools.pairwise(arm)}
        bones |= {f"{side}_{a}": (f"{side}_{b}", _DOWN) for a, b in itertools.pairwise(leg)}
        bones[f"{side}_ankle"] = (f"{side}_foot", _FORWARD)
    return bones


_T_POSE = _t_pose()
_LIMBS = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "shoulder", "elbow"))
"""Bones that are straight in a T-pose; those of the trunk and the feet have slopes of their own."""

_STANDING_DEG = 60.0
_HANGING_DEG = 30.0
_SLOPE_DEG = 35.0
_EXACT_DEG = 0.5
_DAZ_DEG = 18.0
"""The forearms of CMU's "DAZ" skeleton point 17° forward at rest; its rotations are meant for a T-pose all the same."""
_FLAT_FEET = ("CMU (ASF)", "CMU (MotionBuilder)")
"""Skeletons whose legs are spread at rest and whose feet are taken as they are then."""

_T_POSE_FRAME_DEG = 20.0
_SNAP_DEG = 30.0

_LEG_M = 0.84
_UNITS_M = (1.0, 0.01, 0.001, 0.0254, 0.0254 / 0.45)
"""Metres, centimetres, millimetres, inches, and CMU's inches divided by 0.45."""

CMU_UNIT_M = _UNITS_M[-1]


@dataclass(frozen=True)
class SkeletonMotion:
    """Joints by name, parents before children: ``parents`` (None for the root); ``offsets`` (3,) from the parent at
    rest; ``rotations`` (n,) local, identity at rest; ``root_positions`` (n,3), in the file's unit."""

    parents: dict[str, str | None]
    offsets: dict[str, np.ndarray]
    rotations: dict[str, Rotation]
    root_positions: np.ndarray

    def above(self, joint: str) -> list[str]:
        """The joint and all above it, the root first."""
        path, at = [joint], self.parents[joint]
        while at is not None:
            path.append(at)
            at = self.parents[at]
        return path[::-1]

    def rest_position(self, joint: str) -> np.ndarray:
        """(3,) from the root at rest."""
        return np.sum([self.offsets[link] for link in self.above(joint)[1:]], 0) if self.parents[joint] else np.zeros(3)

    def turned(self, joints: list[str]) -> Rotation:
        """The product of local rotations, in order."""
        total = Rotation.identity(len(self.root_positions))
        for joint in joints:
            total = total * self.rotations[joint]
        return total

    def position(self, joint: str, frame: int | slice = slice(None)) -> np.ndarray:
        """(n,3), or (3,) of one frame: where the joint is in the world."""
        total, place = Rotation.identity(), self.root_positions[frame]
        for before, after in zip(self.above(joint), self.above(joint)[1:], strict=False):
            total = total * self.rotations[before][frame]
            place = place + total.apply(self.offsets[after])
        return place


@dataclass(frozen=True)
class SmplMotion:
    """body (n,21,3), root (n,3): axis-angle; translation (n,3) metres; ``up``: the axis of the world that points up."""

    body: np.ndarray
    root: np.ndarray
    translation: np.ndarray
    up: Literal["y", "z"]


def to_smpl(
    path: Path, motion: SkeletonMotion, joints: JointMap, metres_per_unit: float | None = None, style: str = ""
) -> SmplMotion:
    """Carry a motion to SMPL's joints through a map, one of ``joint_maps.MAPS`` if it has a ``style``.

    The unit is derived from the length of the legs where it is not given. Raise ``UserError`` for a rest pose that
    cannot be compared with a T-pose.
    """
    rest = _corrections(path, motion, joints, style)
    above = {joint: _mapped_above(joint, joints) for joint in joints}
    body = np.zeros((len(motion.root_positions), len(BODY_JOINT_NAMES), 3), np.float32)
    for column, joint in enumerate(BODY_JOINT_NAMES):
        if joint in joints:
            own = motion.turned(_own_bones(motion, joints, joint, above[joint]))
            body[:, column] = (rest[above[joint]].inv() * own * rest[joint]).as_rotvec()
    root = motion.turned(motion.above(joints["pelvis"][-1])) if "pelvis" in joints else motion.turned([])
    root = root * rest["pelvis"]
    unit = metres_per_unit or _unit(motion, joints)
    place = motion.position(joints["pelvis"][0]) if "pelvis" in joints else np.zeros((len(body), 3))
    stands_along_z = min(rest["pelvis"].apply(_UP)[2], root.apply(_UP).mean(0)[2]) > 0.7
    return SmplMotion(
        body,
        root.as_rotvec().astype(np.float32),
        (place * unit).astype(np.float32),
        "z" if stands_along_z else "y",
    )


def _mapped_above(joint: str, joints: JointMap) -> str:
    """The nearest SMPL joint above that is in the map; the pelvis where none is."""
    at = PARENTS[JOINT_NAMES.index(joint)]
    while at > 0 and JOINT_NAMES[at] not in joints:
        at = PARENTS[at]
    return JOINT_NAMES[max(at, 0)]


def _own_bones(motion: SkeletonMotion, joints: JointMap, joint: str, above: str) -> list[str]:
    """What turns a joint against the one above: all the way down from there, or the map's own list where the skeleton
    is built in another order."""
    way = motion.above(joints[joint][-1])
    start = joints[above][-1] if above in joints else None
    after = way[way.index(start) + 1 :] if start in way else []
    return after if {*joints[joint]} <= {*after} else list(joints[joint])


def _corrections(path: Path, motion: SkeletonMotion, joints: JointMap, style: str) -> dict[str, Rotation]:
    """SMPL joint → the rotation from its T-pose to the file's rest pose; that of the body for joints without a bone."""
    places = {joint: motion.rest_position(bones[-1]) for joint, bones in joints.items()}
    body = _body_frame(places)
    wrong = _not_standing(places, body)
    if wrong and (pose := _first_frame(motion, joints)) is not None:
        return pose
    if wrong:
        raise fail(
            f"{path} has a rest pose that is no T-pose and cannot be corrected by its offsets",
            got="; ".join(wrong[:4]),
            expected=f"bones within {_STANDING_DEG:g}° of a standing T-pose when all rotations are 0",
            next_step="Export it with a T-pose as the rest pose, or with a T-pose as the first frame",
        )
    rest = dict.fromkeys(JOINT_NAMES, body)
    exact = _DAZ_DEG if style == "CMU (DAZ)" else _EXACT_DEG
    for joint, (other, direction) in _T_POSE.items():
        bone = _bone(places, joint, other)
        if bone is not None and not joint.endswith("ankle"):
            leans = _angle(body.apply(direction), bone)
            if leans > (exact if joint in _LIMBS else _SLOPE_DEG):
                rest[joint] = _shortest(body.apply(direction), bone) * body
    for side in ("left", "right"):
        rest[f"{side}_wrist"] = rest[f"{side}_elbow"]  # the hand continues the forearm
        foot = _bone(places, f"{side}_ankle", f"{side}_foot")
        leg = rest[f"{side}_knee"]
        leans_with_leg = foot is None or abs(leg.inv().apply(foot)[0]) < abs(body.inv().apply(foot)[0])
        if leans_with_leg and style not in _FLAT_FEET:
            rest[f"{side}_ankle"] = rest[f"{side}_foot"] = leg
    return rest


def _not_standing(places: dict[str, np.ndarray], body: Rotation) -> list[str]:
    """Bones that point elsewhere than in a person who stands with arms spread, lowered or hanging, in words."""
    wrong = []
    for joint, (other, direction) in _T_POSE.items():
        bone = _bone(places, joint, other)
        if bone is None or joint.endswith("ankle"):
            continue
        leans = _angle(body.apply(direction), bone)
        arm = joint.endswith(("shoulder", "elbow"))
        if leans > _STANDING_DEG and not (arm and _angle(body.apply(_DOWN), bone) < _HANGING_DEG):
            wrong.append(f"{joint} to {other} is {leans:.0f}° from there")
    return wrong


def _first_frame(motion: SkeletonMotion, joints: JointMap) -> dict[str, Rotation] | None:
    """The corrections that make the first frame a T-pose, if its joints stand in one; None otherwise."""
    if not {"pelvis", *_LIMBS, "left_wrist", "right_wrist", "left_ankle", "right_ankle"} <= joints.keys():
        return None
    places = {joint: motion.position(bones[-1], 0) for joint, bones in joints.items()}
    body = _body_frame(places, snap=False)
    for joint, (other, direction) in _T_POSE.items():
        bone = _bone(places, joint, other)
        limit = _T_POSE_FRAME_DEG if joint in _LIMBS else _SLOPE_DEG
        if bone is not None and not joint.endswith("ankle") and _angle(body.apply(direction), bone) > limit:
            return None
    rest = dict.fromkeys(JOINT_NAMES, body)
    for joint, bones in joints.items():
        rest[joint] = motion.turned(motion.above(bones[-1]))[0].inv() * body
    return rest


def _body_frame(places: dict[str, np.ndarray], *, snap: bool = True) -> Rotation:
    """The rotation from SMPL's axes (x to the left, y up, z forward) to those of the body given by ``places``.

    With ``snap``, one that is within 30° of turns by right angles becomes that: bones have slopes of their own.
    Identity where hips (or shoulders) or trunk are not known.
    """
    pairs = [(f"left_{pair}", f"right_{pair}") for pair in ("hip", "shoulder", "collar")]
    pair = next((labels for labels in pairs if labels[0] in places and labels[1] in places), None)
    top = next((joint for joint in ("neck", "spine3", "spine2", "head", "spine1") if joint in places), None)
    if pair is None or top is None or "pelvis" not in places:
        return Rotation.identity()
    bottom = (places[pair[0]] + places[pair[1]]) / 2 if pair[0] == "left_hip" else places["pelvis"]
    left, up = places[pair[0]] - places[pair[1]], places[top] - bottom
    if min(np.linalg.norm(left), np.linalg.norm(up)) < 1e-9 or not 20 < _angle(left, up) < 160:
        return Rotation.identity()
    y = up / np.linalg.norm(up)
    x = left - y * (left @ y)
    x /= np.linalg.norm(x)
    frame = Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], 1))
    if not snap:
        return frame
    turns = Rotation.create_group("O")
    apart = np.degrees((turns.inv() * frame).magnitude())
    return turns[int(apart.argmin())] if apart.min() < _SNAP_DEG else frame


def _bone(places: dict[str, np.ndarray], joint: str, other: str) -> np.ndarray | None:
    """From a joint to the next one of its limb that the map has."""
    while other not in places:
        if other not in _T_POSE or joint not in places:
            return None
        other = _T_POSE[other][0]
    bone = places[other] - places[joint] if joint in places else np.zeros(3)
    return bone if np.linalg.norm(bone) > 1e-9 else None


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def _shortest(start: np.ndarray, end: np.ndarray) -> Rotation:
    """The smallest rotation that takes one direction to another, not opposite, one."""
    axis = np.cross(start, end)
    length = np.linalg.norm(axis)
    return Rotation.from_rotvec(axis / max(length, 1e-12) * np.arctan2(length, start @ end))


def _unit(motion: SkeletonMotion, joints: JointMap) -> float:
    """Metres a unit, by the length of a leg; CMU's unit where there are no legs to measure."""
    leg = ("left_hip", "left_knee", "left_ankle")
    if not {*leg} <= joints.keys():
        return CMU_UNIT_M
    places = [motion.rest_position(joints[joint][-1]) for joint in leg]
    length = float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    return min(_UNITS_M, key=lambda unit: abs(np.log(max(length, 1e-9) * unit / _LEG_M)))
