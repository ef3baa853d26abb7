"""In which order other data sets list their joints, by the names of the 44 keypoints; '' for what is none of them."""

from __future__ import annotations

from tokenizer.body.keypoints import SMPL_JOINTS_AS_KEYPOINTS
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES

_OPENPOSE = KEYPOINT_NAMES[:25]
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO17 = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    *(f"{side}_{limb}" for limb in _LIMBS for side in ("left", "right")),
)
"""COCO's keypoints (Lin et al., 2014)."""

COCO18 = (
    "nose",
    "neck",
    *(f"{side}_{limb}" for half in (_LIMBS[:3], _LIMBS[3:]) for side in ("right", "left") for limb in half),
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
"""OpenPose's older model, as in 3DPW's ``poses2d``."""

_RENAMED = {smpl: name for name, rule in SMPL_JOINTS_AS_KEYPOINTS.items() for smpl in rule}
SMPL24 = tuple(_RENAMED.get(name, name if name in _OPENPOSE else "") for name in JOINT_NAMES)
"""The 24 joints of SMPL: its neck and pelvis stand for OpenPose's neck and middle of the hips."""

SMPL45 = (
    *SMPL24,
    "nose",
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
    *[""] * 10,
)
"""SMPL's joints and the 21 vertices that stand for face, feet and fingertips, as smplx lists them."""

BODY25 = _OPENPOSE
"""OpenPose's body model, the first 25 of the 44."""

FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
"""The feet of COCO-WholeBody (Jin et al., 2020), in its ``foot_kpts`` and behind its 17."""

WHOLE_BODY133 = (*COCO17, *FEET, *[""] * (133 - 23))
"""COCO-WholeBody in one list: body, feet, face, hands."""

HALPE26 = (
    *COCO17,
    "",
    "neck",
    "mid_hip",
    *(f"{side}_{part}" for part in ("big_toe", "small_toe", "heel") for side in ("left", "right")),
)
"""Halpe's body and feet (Fang et al., AlphaPose), without its top of the head, which is none of the 44."""

HALPE136 = (*HALPE26, *[""] * (136 - 26))
"""All of Halpe: body, feet, face, hands."""
