"""The 44 keypoints as a matrix on 24 joints and landmark vertices.

0-24 are OpenPose's, 25-43 LSP, MPII and Human3.6M names (``skeleton.KEYPOINT_NAMES``). On SMPL bodies the last 19 can
come from a regressor file on the vertices instead.
"""

from __future__ import annotations

import numpy as np

from .skeleton import JOINT_NAMES, KEYPOINT_NAMES, NUM_JOINTS

_SPECIAL = {
    "neck": {"neck": 0.5, "left_shoulder": 0.25, "right_shoulder": 0.25},
    "mid_hip": {"left_hip": 0.5, "right_hip": 0.5},
    "lsp_neck": {"neck": 0.6, "left_shoulder": 0.2, "right_shoulder": 0.2},
    "lsp_crown": {"@crown": 1.0},
    "mpii_pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    "mpii_thorax": {"left_shoulder": 0.35, "right_shoulder": 0.35, "neck": 0.3},
    "h36m_spine": {"spine2": 0.7, "spine3": 0.3},
    "h36m_jaw": {"@chin": 1.0},
    "h36m_head": {"head": 0.4, "@crown": 0.3, "@left_ear": 0.15, "@right_ear": 0.15},
}

SMPL_JOINTS_AS_KEYPOINTS = {"neck": {"neck": 1.0}, "mid_hip": {"pelvis": 1.0}}
"""Where OpenPose's 25 on SMPL bodies differ from the rule above: the recorded convention of stage 2."""


def keypoint_matrix(landmarks: list[str], overrides: dict[str, dict[str, float]] | None = None) -> np.ndarray:
    """(44, 24 + L) float32: rows sum to one. ``landmarks`` names the L vertices that follow the joints.

    A landmark is written ``@name`` in ``overrides``, a joint by its name.
    """
    columns = [*JOINT_NAMES, *(f"@{name}" for name in landmarks)]
    matrix = np.zeros((len(KEYPOINT_NAMES), NUM_JOINTS + len(landmarks)), dtype=np.float32)
    rules = {**_SPECIAL, **(overrides or {})}
    for row, keypoint in enumerate(KEYPOINT_NAMES):
        name = keypoint.removeprefix("lsp_")
        rule = rules.get(keypoint) or {name if name in JOINT_NAMES else f"@{name}": 1.0}
        for column, weight in rule.items():
            matrix[row, columns.index(column)] = weight
    return matrix


DETECTOR_POINTS: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    *(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "pinky", "index") for side in ("left", "right")),
    *(f"{side}_{part}" for part in ("hip", "knee", "ankle", "heel", "toes") for side in ("left", "right")),
)
"""What detectors of people find in photographs: COCO's 17 points, and of each hand two knuckles, of each foot the heel
and the tip between the toes."""

_KNUCKLE = 0.033
"""Metres from the middle of a hand to the knuckles of the index and the little finger, across the hand at rest."""
_AROUND = 6
_MIXED = {
    # Where annotators and detectors put a point, in terms of joints: ears towards the face, hips and shoulders inwards.
    "ear": {"@{side}_ear": 0.9, "@{other}_ear": 0.1},
    "shoulder": {"{side}_shoulder": 0.97, "{other}_shoulder": 0.03},
    "hip": {"{side}_hip": 0.92, "{other}_hip": 0.05, "{side}_knee": 0.03},
    "heel": {"@{side}_heel": 1.0},
    "toes": {"@{side}_big_toe": 0.6, "@{side}_small_toe": 0.4},
    "eye": {"@{side}_eye": 1.0},
}


def detector_points(
    template: np.ndarray, joints: np.ndarray, landmarks: dict[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rule of ``DETECTOR_POINTS``: a matrix (25, 24 + S) float32, rows summing to one, and the S vertices
    that follow the joints.

    ``template`` (V,3) and ``joints`` (24,3): at rest, facing +z, hands along x; ``landmarks``: vertices by name. A
    knuckle is the mean of the vertices around its place.
    """
    vertices = list(landmarks.values())
    columns = [*JOINT_NAMES, *(f"@{name}" for name in landmarks)]
    matrix = np.zeros((len(DETECTOR_POINTS), len(columns) + 4 * _AROUND), dtype=np.float32)
    filled = len(columns)
    for row, name in enumerate(DETECTOR_POINTS):
        side, _, part = name.rpartition("_")
        if part in ("pinky", "index"):
            across = np.array([0.0, 0.0, _KNUCKLE if part == "index" else -_KNUCKLE])
            place = joints[JOINT_NAMES.index(f"{side}_hand")] + across
            around = np.argsort(((template - place) ** 2).sum(1), kind="stable")[:_AROUND]
            vertices += [int(vertex) for vertex in around]
            matrix[row, filled : filled + _AROUND] = 1 / _AROUND
            filled += _AROUND
            continue
        other = "right" if side == "left" else "left"
        rule = _MIXED.get(part) or {name if name in JOINT_NAMES else f"@{name}": 1.0}
        for column, weight in rule.items():
            matrix[row, columns.index(column.format(side=side, other=other))] = weight
    return matrix, np.array(vertices, dtype=np.int64)
