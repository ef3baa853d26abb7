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
