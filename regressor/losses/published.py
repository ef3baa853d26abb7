"""TokenHMR's loss as published: five sums over the batch (L1 of keypoints, squares of matrix entries and betas).

The released code adds habits that are in no paper; ``compat_reference`` switches them on, to repeat its training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer.body.skeleton import keypoint_index

from ..config import LossConfig
from ..sample import Sample, checked_confidences, has_neutral_betas, is_true_3d
from .masking import mask_invalid, valid_sum
from .tals import Scales, keypoints_2d_scale, loss_scales

_TRUSTED = 0.5
"""Confidence of a 2D keypoint from which the released code lets a pseudo label's 3D count. Its recorded outputs place
it between 0.4 and 0.7."""


def published_terms(
    orientation: Tensor,
    body_pose: Tensor,
    betas: Tensor,
    keypoints_3d: Tensor,
    keypoints_2d: Tensor,
    sample: Sample,
    config: LossConfig,
    *,
    training: bool = True,
) -> dict[str, Tensor]:
    """The five terms, not yet weighted; TALS scales them while ``training`` where ``config.tals`` has thresholds.

    orientation (B,3,3), body_pose (B,23,3,3), betas (B,S); keypoints_3d (B,44,3) metres, wherever their origin;
    keypoints_2d (B,44,2) crop units. What a sample does not know does not count.

    With ``config.compat_reference``, while TALS is on: 2D errors meet their threshold multiplied by the confidence;
    3D keypoints of pseudo labels count where their 2D is above the threshold and trusted, and else not at all;
    rotations of data with true 3D count whether known or not; betas count on data with true 3D alone. With it, on or
    off, 3D keypoints count even where the pelvis that all are relative to is not known.
    """
    tals = config.tals if training else type(config.tals)()
    confidence_2d = checked_confidences(sample["keypoints_2d"][..., 2])
    confidence_3d = checked_confidences(sample["keypoints_3d"][..., 3])
    has_pose, has_orientation, has_shape = (
        sample["has_body_pose"].float(),
        sample["has_global_orient"].float(),
        has_neutral_betas(sample).float(),
    )
    if config.compat_reference and tals.on:
        true_3d = is_true_3d(sample).float()
        has_pose, has_orientation, has_shape = (
            torch.maximum(has_pose, true_3d),
            torch.maximum(has_orientation, true_3d),
            has_shape * true_3d,
        )
        target = mask_invalid(sample["keypoints_2d"][..., :2], confidence_2d)
        scale_2d = keypoints_2d_scale(keypoints_2d, target, tals, trust=confidence_2d)
        counts = (scale_2d == 1) & (confidence_2d >= _TRUSTED)
        scale_3d = torch.where(is_true_3d(sample)[:, None], 1.0, counts.float())
        rotations = loss_scales(orientation, body_pose, keypoints_2d, sample, tals)
        scales = Scales(scale_2d, scale_3d, rotations.orientation, rotations.body_pose)
    else:
        scales = loss_scales(orientation, body_pose, keypoints_2d, sample, tals)

    pelvis = keypoint_index("mpii_pelvis")
    if not config.compat_reference:
        confidence_3d = confidence_3d * (confidence_3d[:, pelvis : pelvis + 1] > 0)
    truth_3d = sample["keypoints_3d"][..., :3] - sample["keypoints_3d"][:, pelvis : pelvis + 1, :3]
    apart_3d = keypoints_3d - keypoints_3d[:, pelvis : pelvis + 1] - mask_invalid(truth_3d, confidence_3d)
    apart_2d = keypoints_2d - mask_invalid(sample["keypoints_2d"][..., :2], confidence_2d)
    apart_pose = body_pose - mask_invalid(sample["body_pose"], has_pose)
    apart_orientation = orientation - mask_invalid(sample["global_orient"], has_orientation)
    return {
        "keypoints_3d": valid_sum(apart_3d.abs(), confidence_3d * scales.keypoints_3d),
        "keypoints_2d": valid_sum(apart_2d.abs(), confidence_2d * scales.keypoints_2d),
        "orientation": valid_sum(apart_orientation.square(), has_orientation * scales.orientation),
        "body_pose": valid_sum(apart_pose.square(), has_pose[:, None] * scales.body_pose),
        "betas": valid_sum((betas - mask_invalid(sample["betas"], has_shape)).square(), has_shape),
    }
