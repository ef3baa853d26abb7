"""Losses of stage 2: pure functions, means over the entries that are valid; nothing they are given is changed.

A mean over no valid entry at all is zero, with zero gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tokenizer import Body, FrozenTokenizer
from tokenizer.body.rotations import geodesic_distance
from tokenizer.body.skeleton import NUM_BODY_JOINTS, index, keypoint_index

from .camera import project_to_crop
from .config import LossConfig
from .datasets.sample import Sample
from .prediction import Prediction


def valid_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of values (B,...) weighted by ``weight``, (B,...) of as many or fewer trailing dimensions."""
    weight = _like(weight, values).to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def known(target: Tensor, weight: Tensor) -> Tensor:
    """``target`` (B,...) with zeros where ``weight`` is 0: an unknown entry may hold anything, and NaN · 0 is NaN."""
    return torch.where(_like(weight, target) > 0, target, torch.zeros_like(target))


def _like(weight: Tensor, values: Tensor) -> Tensor:
    return weight.reshape(*weight.shape, *[1] * (values.ndim - weight.ndim)).expand_as(values)


def rotation_loss(predicted: Tensor, target: Tensor, valid: Tensor, kind: str = "mse") -> Tensor:
    """Rotations (B,...,3,3), valid (B,): mean square of the matrix entries, or mean ``geodesic`` angle in radians."""
    target = known(target, valid)
    if kind == "mse":
        return valid_mean((predicted - target).square(), valid)
    return valid_mean(geodesic_distance(predicted, target), valid)


def joints_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Joints (B,J,3) that share an origin, metres; valid (B,) or (B,J): mean distance, which is what MPJPE scores."""
    return valid_mean((predicted - known(target, valid)).square().sum(-1).add(1e-8).sqrt(), valid)


def keypoints_3d_loss(predicted: Tensor, target: Tensor, pelvis: int) -> Tensor:
    """Keypoints (B,J,3) against (B,J,4) with confidence, each relative to its own keypoint ``pelvis``: mean distance.

    The pelvis's own confidence counts for all, since all are relative to it.
    """
    relative = predicted - predicted[:, pelvis : pelvis + 1]
    truth = target[..., :3] - target[:, pelvis : pelvis + 1, :3]
    return joints_loss(relative, truth, target[..., 3] * target[:, pelvis : pelvis + 1, 3])


def keypoints_2d_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Keypoints (B,J,2) against (B,J,3) with confidence, crop units: mean L1 distance, capped at a whole crop."""
    confidence = target[..., 2]
    return valid_mean((predicted - known(target[..., :2], confidence)).abs().clamp_max(1.0).sum(-1), confidence)


def betas_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Shape (B,S) against (B,S), valid (B,): mean square."""
    return valid_mean((predicted - known(target, valid)).square(), valid)


def token_cross_entropy(
    factor_logits: Sequence[Tensor], digits: Sequence[Tensor], valid: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of logits (B,T,L_f) with the true digits (B,T) of each factor, valid (B,).

    Mean over samples and tokens of the sum over factors: the negative log-likelihood of a token in nats.
    """
    total = torch.zeros((), device=valid.device)
    for logits, digit in zip(factor_logits, digits, strict=True):
        loss = F.cross_entropy(logits.flatten(0, 1), digit.flatten(), reduction="none", label_smoothing=label_smoothing)
        total = total + valid_mean(loss.view_as(digit), valid)
    return total


def regression_loss(
    prediction: Prediction, sample: Sample, body: Body, tokenizer: FrozenTokenizer, config: LossConfig
) -> dict[str, Tensor]:
    """The weighted terms of the training loss; terms of weight 0 are left out. What a sample does not know (``has_*``,
    confidences) does not count. Rotations, joints and keypoints need ``body`` to be the one of the annotation.
    """
    orientation, pose = prediction.global_orient[:, 0], prediction.body_pose
    root = index("pelvis")
    posed = sample["has_body_pose"]
    oriented = sample["has_global_orient"] & posed

    # One forward pass in the body frame serves every frame: the root turns all points about the pelvis.
    joints = body.joints(pose, betas=prediction.betas)
    keypoints = body.keypoints(pose, betas=prediction.betas)
    pelvis = joints[:, root : root + 1]
    turn = orientation.transpose(-1, -2)
    camera_keypoints = (keypoints - pelvis) @ turn + pelvis + prediction.camera_translation()[:, None]
    with torch.no_grad():
        true_pose, true_orientation = known(sample["body_pose"], posed), known(sample["global_orient"], oriented)
        true_joints = body.joints(true_pose, betas=known(sample["betas"], sample["has_betas"]))
        true_joints = true_joints - true_joints[:, root : root + 1]
        true_camera_joints = true_joints @ true_orientation.transpose(-1, -2)
    joints = joints - pelvis

    terms: dict[str, Tensor] = {}

    def add(name: str, weight: float, loss: Tensor) -> None:
        if weight:
            terms[name] = weight * loss

    add("orientation", config.orientation_weight,
        rotation_loss(orientation, sample["global_orient"], sample["has_global_orient"]))  # fmt: skip
    add("body_pose", config.body_pose_weight,
        rotation_loss(pose[:, :NUM_BODY_JOINTS], sample["body_pose"][:, :NUM_BODY_JOINTS], posed))  # fmt: skip
    add("joints", config.joints_weight, joints_loss(joints @ turn, true_camera_joints, oriented))
    add("body_joints", config.body_joints_weight, joints_loss(joints, true_joints, posed))
    add("keypoints_3d", config.keypoints_3d_weight,
        keypoints_3d_loss(camera_keypoints, sample["keypoints_3d"], keypoint_index("mpii_pelvis")))  # fmt: skip
    projected = project_to_crop(camera_keypoints, prediction.box, prediction.K)
    add("keypoints_2d", config.keypoints_2d_weight, keypoints_2d_loss(projected, sample["keypoints_2d"]))
    if prediction.pointed is not None:
        add("pointed", config.pointed_weight, keypoints_2d_loss(prediction.pointed, sample["keypoints_2d"]))
    add("betas", config.betas_weight, betas_loss(prediction.betas, sample["betas"], sample["has_betas"]))
    if prediction.factor_logits is not None and config.token_weight:
        with torch.no_grad():
            digits = tokenizer.split_ids(tokenizer.encode(true_pose[:, :NUM_BODY_JOINTS]))
        cross_entropy = token_cross_entropy(prediction.factor_logits, digits, posed, config.label_smoothing)
        add("token", config.token_weight, cross_entropy)
    return terms
