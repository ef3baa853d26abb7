"""Names and parents of SMPL-family joints and of the 44 keypoints; joints are addressed by name, never by number."""

from __future__ import annotations

import difflib

from ..engine.errors import fail

JOINT_NAMES: tuple[str, ...] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
"""The 24 SMPL joints, in file order."""

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each SMPL joint; -1 for the root."""

BODY_JOINT_NAMES: tuple[str, ...] = JOINT_NAMES[1:22]
"""The 21 joints a body pose rotates: all but the root and the hands; what the tokenizer sees."""

LIMBS: dict[str, tuple[str, ...]] = {
    f"{side}_{limb}": tuple(f"{side}_{joint}" for joint in joints)
    for side in ("left", "right")
    for limb, joints in (("arm", ("collar", "shoulder", "elbow", "wrist")), ("leg", ("hip", "knee", "ankle", "foot")))
}
"""Joints of the four limbs."""

NUM_JOINTS = len(JOINT_NAMES)
NUM_BODY_JOINTS = len(BODY_JOINT_NAMES)

KEYPOINT_NAMES: tuple[str, ...] = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "mid_hip",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
    "lsp_right_ankle",
    "lsp_right_knee",
    "lsp_right_hip",
    "lsp_left_hip",
    "lsp_left_knee",
    "lsp_left_ankle",
    "lsp_right_wrist",
    "lsp_right_elbow",
    "lsp_right_shoulder",
    "lsp_left_shoulder",
    "lsp_left_elbow",
    "lsp_left_wrist",
    "lsp_neck",
    "lsp_crown",
    "mpii_pelvis",
    "mpii_thorax",
    "h36m_spine",
    "h36m_jaw",
    "h36m_head",
)
"""The 44 keypoints of stage 2: 25 OpenPose, then 19 extra (14 LSP, 2 MPII, 3 H36M)."""


def _position(name: str, names: tuple[str, ...], kind: str) -> int:
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names)}"
    raise fail(f"Unknown {kind} {name!r}", next_step=hint)


def index(joint: str) -> int:
    """Index of a SMPL joint among the 24, by name. Raise ``UserError`` naming the nearest known joint."""
    return _position(joint, JOINT_NAMES, "joint")


def kind_of_joint(name: str) -> str:
    """Return a joint's name without its side: ``left_collar`` → ``collar``."""
    return name.removeprefix("left_").removeprefix("right_")


def body_index(joint: str) -> int:
    """Index of a joint among the 21 of a body pose, by name."""
    return _position(joint, BODY_JOINT_NAMES, "body joint")


def keypoint_index(keypoint: str) -> int:
    """Index of a keypoint among the 44, by name."""
    return _position(keypoint, KEYPOINT_NAMES, "keypoint")


def mirrored(name: str) -> str:
    """The name on the other side: ``left_knee`` → ``right_knee``; unpaired names stay."""
    return name.replace("left_", "\0").replace("right_", "left_").replace("\0", "right_")


def mirror_permutation(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each name, the index of its mirror image: ``values[..., permutation]`` swaps left and right."""
    return tuple(names.index(mirrored(name)) for name in names)
