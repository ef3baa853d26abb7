"""Why fitting 2D ever better bends the body: poses that are exact leave the truth when 2D alone is optimised.

TokenHMR's first claim (Dwivedi et al., CVPR 2024, section 3.1), shown without any training: bodies start at their true
pose and follow the gradient of their 2D error through the camera that HMR-like regressors assume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from regressor.config import TalsConfig
from regressor.geometry.camera_models import CameraModel, fit_translation
from regressor.losses.tals import keypoints_2d_scale
from regressor.sample import Sample
from tokenizer import Body, FrozenTokenizer
from tokenizer.body.camera import project
from tokenizer.body.metrics import mpjpe, pa_mpjpe
from tokenizer.body.rotations import matrix_to_rot6d, rot6d_to_matrix
from tokenizer.body.skeleton import NUM_BODY_JOINTS, index

CROP_PIXELS = 256
PoseSpace = Literal["free 6D", "tokens"]
RATES: dict[PoseSpace, tuple[float, ...]] = {
    "free 6D": (0.05, 0.1, 0.2),
    "tokens": (80.0, 320.0, 1280.0),
}
"""Step sizes of the pose to choose from. Logits near certainty need large ones: they hardly move the probabilities."""
_ORIENTATION_RATE, _MOMENTUM = 0.05, 0.9
"""Larger steps swing the orientation past where 2D draws it, a 3D error that is no one's but the optimiser's."""
_SURE = 0.98
"""Probability of the true token's every digit at the start: near the truth, and still free to move."""


@dataclass
class Curve:
    """One descent: at every step the mean 2D error in pixels of a 256 px crop, MPJPE and PA-MPJPE in mm."""

    pose: PoseSpace
    loss: str = "plain"
    error_2d_px: list[float] = field(default_factory=list)
    mpjpe_mm: list[float] = field(default_factory=list)
    pa_mpjpe_mm: list[float] = field(default_factory=list)

    def at(self, error_2d_px: float) -> tuple[float, float] | None:
        """MPJPE and PA-MPJPE, mm, where the 2D error first falls to this, between two steps in proportion.

        None where it never does, or starts below."""
        for step, (above, below) in enumerate(pairwise(self.error_2d_px)):
            if above > error_2d_px >= below:
                share = (above - error_2d_px) / (above - below)
                first, second = (
                    values[step] + share * (values[step + 1] - values[step])
                    for values in (self.mpjpe_mm, self.pa_mpjpe_mm)
                )
                return first, second
        return None


def descend(
    sample: Sample,
    body: Body,
    camera: CameraModel,
    pose: PoseSpace,
    *,
    tokenizer: FrozenTokenizer,
    rate: float,
    tals: TalsConfig | None = None,
    steps: int = 100,
) -> Curve:
    """Follow the gradient of the squared 2D error, from the true pose and orientation, for ``steps`` steps.

    ``pose``: rotations move freely as 6D, or as the probabilities of tokens (from where the true ids put them). Shape
    stays true; each body is placed where ``camera`` fits it best at every step. ``tals`` scales the squares. Plain
    gradient descent with momentum, as Adam would cancel a small weight that all errors share. ``rate`` is the pose's;
    that of the orientation, which is free in both spaces, is always the same.
    """
    true_pose, betas = sample["body_pose"][:, :NUM_BODY_JOINTS], sample["betas"]
    target = sample["keypoints_2d"][..., :2]
    K, weight = camera(sample), torch.ones(target.shape[:2], device=target.device)
    true_joints = _rooted(body.joints(true_pose, root=sample["global_orient"], betas=betas))
    orientation = matrix_to_rot6d(sample["global_orient"]).clone().requires_grad_()
    leaves, rotations = _start(true_pose, pose, tokenizer)
    groups = [{"params": [orientation], "lr": _ORIENTATION_RATE}, {"params": leaves, "lr": rate}]
    optimizer = torch.optim.SGD(groups, momentum=_MOMENTUM)
    curve, translation = Curve(pose), None
    for step in range(steps + 1):
        body_rotations, root = rotations(), rot6d_to_matrix(orientation)
        points = body.keypoints(body_rotations, root=root, betas=betas)
        first = translation is None
        translation = fit_translation(
            points.detach(), target, weight, K, start=translation, steps=10 if first else 2
        ).to(points.dtype)
        apart = project(points + translation[:, None], K) - target
        with torch.no_grad():
            joints = _rooted(body.joints(body_rotations, root=root, betas=betas))
            curve.error_2d_px.append(CROP_PIXELS * float(apart.norm(dim=-1).mean()))
            curve.mpjpe_mm.append(1000 * float(mpjpe(joints, true_joints).mean()))
            curve.pa_mpjpe_mm.append(1000 * float(pa_mpjpe(joints, true_joints).mean()))
        if step < steps:
            scale = torch.ones_like(weight) if tals is None else keypoints_2d_scale(target + apart, target, tals)
            optimizer.zero_grad()
            (scale * apart.square().sum(-1)).sum().backward()
            optimizer.step()
    return curve


def best_rate(
    sample: Sample,
    body: Body,
    camera: CameraModel,
    pose: PoseSpace,
    *,
    tokenizer: FrozenTokenizer,
    steps: int = 100,
    progress: Callable[[int], object] | None = None,
) -> float:
    """The one of ``RATES`` with which plain descent takes the 2D error lowest: a fair step for either space.

    ``progress`` is called after each descent with its number.
    """
    ends = {}
    for number, rate in enumerate(RATES[pose]):
        end = descend(sample, body, camera, pose, tokenizer=tokenizer, rate=rate, steps=steps).error_2d_px[-1]
        ends[rate] = end if math.isfinite(end) else math.inf
        if progress is not None:
            progress(number)
    return min(ends, key=lambda rate: ends[rate])


def _start(pose: Tensor, space: PoseSpace, tokenizer: FrozenTokenizer) -> tuple[list[Tensor], Callable[[], Tensor]]:
    """Return the optimized parameters, and the rotations (N,21,3,3) that they encode."""
    if space == "free 6D":
        rot6d = matrix_to_rot6d(pose).clone().requires_grad_()
        return [rot6d], lambda: rot6d_to_matrix(rot6d)
    digits = tokenizer.split_ids(tokenizer.encode(pose))
    logits = [
        (math.log(_SURE / (1 - _SURE) * max(1, level - 1)) * F.one_hot(digit, level).float()).requires_grad_()
        for digit, level in zip(digits, tokenizer.levels, strict=True)
    ]
    return logits, lambda: tokenizer.decode_factored([factor.softmax(-1) for factor in logits])


def _rooted(joints: Tensor) -> Tensor:
    root = index("pelvis")
    return joints - joints[:, root : root + 1]
