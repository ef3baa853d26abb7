"""Threshold-adaptive loss scaling (TALS; Dwivedi et al., TokenHMR, CVPR 2024): what fits well enough hardly counts.

Seen through an approximate camera even the true body misses its 2D keypoints, and a pseudo label misses the true
rotation. An error below what a perfect answer would show carries no information; pulling it to zero bends the body.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from tokenizer.engine.constants import constant
from tokenizer.engine.errors import fail

from ..sample import Sample, is_true_3d


@dataclass(frozen=True)
class TalsConfig:
    """Thresholds by name, and the ``weight`` of an error below its own. A name left out has none: it always counts in
    full. Without any threshold TALS is off.

    ``keypoints_2d``: squared distance in crop units; ``rotations``: angle in radians of the pelvis (the global
    orientation) and the 23 joints; ``source``: where the thresholds come from. Raises ``UserError`` for an unknown name
    or an impossible value.
    """

    keypoints_2d: dict[str, float] = field(default_factory=dict)
    rotations: dict[str, float] = field(default_factory=dict)
    weight: float = 0.05
    source: str = ""

    def __post_init__(self) -> None:
        for what, given, known in (
            ("keypoint", self.keypoints_2d, KEYPOINT_NAMES),
            ("joint", self.rotations, JOINT_NAMES),
        ):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise fail(
                    f"TALS has thresholds for an unknown {what}",
                    got=", ".join(unknown[:5]),
                    expected=f"names such as {', '.join(known[:4])}",
                )
            bad = [f"{name} {value}" for name, value in given.items() if not 0 <= value < float("inf")]
            if bad:
                raise fail(f"TALS has an impossible {what} threshold", got=", ".join(bad[:5]), expected="0 or more")
        if not 0 <= self.weight <= 1:
            raise fail("TALS has an impossible weight", got=self.weight, expected="0 to 1")

    @property
    def on(self) -> bool:
        """Whether there is any threshold."""
        return bool(self.keypoints_2d or self.rotations)


def keypoints_2d_scale(predicted: Tensor, target: Tensor, tals: TalsConfig, *, trust: Tensor | None = None) -> Tensor:
    """Keypoints (...,44,2) against (...,44,2), crop units → (...,44): ``weight`` where the squared distance is below
    its threshold, 1 elsewhere. ``trust`` (...,44) multiplies the squared distance. No gradient.
    """
    squared = (predicted.detach() - target).square().sum(-1)
    return _scale(squared if trust is None else squared * trust, KEYPOINT_NAMES, tals.keypoints_2d, tals.weight)


def rotations_scale(predicted: Tensor, target: Tensor, joints: Collection[str], tals: TalsConfig) -> Tensor:
    """Rotations (...,J,3,3) of ``joints`` → (...,J): ``weight`` where the angle between them is below the threshold of
    its joint, 1 elsewhere. No gradient.
    """
    return _scale(geodesic_distance(predicted.detach(), target), joints, tals.rotations, tals.weight)


@dataclass(frozen=True)
class Scales:
    """How much every error counts, in [0, 1]: keypoints_2d (B,44), keypoints_3d (B,44), orientation (B,), body_pose
    (B,23)."""

    keypoints_2d: Tensor
    keypoints_3d: Tensor
    orientation: Tensor
    body_pose: Tensor


def loss_scales(
    orientation: Tensor, body_pose: Tensor, keypoints_2d: Tensor, sample: Sample, tals: TalsConfig
) -> Scales:
    """Scales of a prediction's errors: orientation (B,3,3), body_pose (B,23,3,3), keypoints_2d (B,44,2) crop units.

    2D keypoints are scaled on all data. Rotations are scaled on pseudo labels alone, and so are 3D keypoints, by the
    scale of their 2D where that is known: both were once fitted to 2D, through a camera as wrong as ours.
    """
    confidence = sample["keypoints_2d"][..., 2]
    scale_2d = keypoints_2d_scale(keypoints_2d, sample["keypoints_2d"][..., :2], tals)
    pseudo = ~is_true_3d(sample)
    turned = rotations_scale(orientation[:, None], sample["global_orient"][:, None], JOINT_NAMES[:1], tals)[:, 0]
    bent = rotations_scale(body_pose, sample["body_pose"], JOINT_NAMES[1:], tals)
    return Scales(
        keypoints_2d=scale_2d,
        keypoints_3d=torch.where(pseudo[:, None] & (confidence > 0), scale_2d, 1.0),
        orientation=torch.where(pseudo, turned, 1.0),
        body_pose=torch.where(pseudo[:, None], bent, 1.0),
    )


def _scale(errors: Tensor, names: Collection[str], thresholds: dict[str, float], weight: float) -> Tensor:
    limits = constant(tuple(thresholds.get(name, 0.0) for name in names), errors.device, errors.dtype)
    return torch.where(errors < limits, weight, 1.0)


PUBLISHED = TalsConfig(
    source="TokenHMR as released: BEDLAM seen through the camera of HMR2.0, its rotations against the true ones",
    keypoints_2d={
        "nose": 0.0085024,
        "neck": 0.00648666,
        "right_shoulder": 0.00747825,
        "right_elbow": 0.01103439,
        "right_wrist": 0.01355629,
        "left_shoulder": 0.00741691,
        "left_elbow": 0.01096735,
        "left_wrist": 0.01414461,
        "mid_hip": 0.00974212,
        "right_hip": 0.01127469,
        "right_knee": 0.01663222,
        "right_ankle": 0.00564927,
        "left_hip": 0.01126335,
        "left_knee": 0.01615757,
        "left_ankle": 0.00532595,
        "right_eye": 0.00829731,
        "left_eye": 0.00831497,
        "right_ear": 0.00737241,
        "left_ear": 0.00743286,
        "left_big_toe": 0.00543739,
        "left_small_toe": 0.00550524,
        "left_heel": 0.00535504,
        "right_big_toe": 0.00565414,
        "right_small_toe": 0.00581685,
        "right_heel": 0.00573041,
        "lsp_right_ankle": 0.00554029,
        "lsp_right_knee": 0.01515258,
        "lsp_right_hip": 0.00986267,
        "lsp_left_hip": 0.00997563,
        "lsp_left_knee": 0.01519944,
        "lsp_left_ankle": 0.00511402,
        "lsp_right_wrist": 0.01288267,
        "lsp_right_elbow": 0.01105894,
        "lsp_right_shoulder": 0.00710525,
        "lsp_left_shoulder": 0.00709785,
        "lsp_left_elbow": 0.01092387,
        "lsp_left_wrist": 0.01388091,
        "lsp_neck": 0.00648326,
        "lsp_crown": 0.00766487,
        "mpii_pelvis": 0.00931454,
        "mpii_thorax": 0.00646622,
        "h36m_spine": 0.00677057,
        "h36m_jaw": 0.00744011,
        "h36m_head": 0.00752381,
    },
    rotations={
        "pelvis": 0.46,
        "left_hip": 0.2189672,
        "right_hip": 0.21184929,
        "spine1": 0.14705585,
        "left_knee": 0.33192524,
        "right_knee": 0.30016956,
        "spine2": 0.16634537,
        "left_ankle": 0.19924018,
        "right_ankle": 0.27109867,
        "spine3": 0.1158485,
        "left_foot": 0.28505754,
        "right_foot": 0.27955374,
        "neck": 0.24433719,
        "left_collar": 0.2626824,
        "right_collar": 0.26488456,
        "head": 0.27850774,
        "left_shoulder": 0.29086208,
        "right_shoulder": 0.3204982,
        "left_elbow": 0.34794798,
        "right_elbow": 0.3520567,
        "left_wrist": 0.6241364,
        "right_wrist": 0.5900597,
        "left_hand": 0.19941667,
        "right_hand": 0.19973585,
    },
)
"""The released thresholds; ``pose-regressor calibrate`` derives others."""
