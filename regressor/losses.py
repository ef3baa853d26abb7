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
from .datasets.sample import Sample, is_true_3d
from .masking import known, valid_mean
from .prediction import Prediction
from .published_loss import published_terms
from .tals import loss_scales


def rotation_loss(
    predicted: Tensor, target: Tensor, valid: Tensor, kind: str = "mse", *, scale: Tensor | None = None
) -> Tensor:
    """Rotations (B,...,3,3), valid (B,): mean square of the matrix entries, or mean ``geodesic`` angle in radians.

    ``scale`` (B,...), here and below: how much each error counts, see ``tals``.
    """
    target = known(target, valid)
    if kind == "mse":
        return valid_mean((predicted - target).square(), valid, scale)
    return valid_mean(geodesic_distance(predicted, target), valid, scale)


def joints_loss(predicted: Tensor, target: Tensor, valid: Tensor, *, scale: Tensor | None = None) -> Tensor:
    """Joints (B,J,3) that share an origin, metres; valid (B,) or (B,J): mean distance, which is what MPJPE scores."""
    return valid_mean((predicted - known(target, valid)).square().sum(-1).add(1e-8).sqrt(), valid, scale)


def keypoints_3d_loss(predicted: Tensor, target: Tensor, pelvis: int, *, scale: Tensor | None = None) -> Tensor:
    """Keypoints (B,J,3) against (B,J,4) with confidence, each relative to its own keypoint ``pelvis``: mean distance.

    The pelvis's own confidence counts for all, since all are relative to it.
    """
    relative = predicted - predicted[:, pelvis : pelvis + 1]
    truth = target[..., :3] - target[:, pelvis : pelvis + 1, :3]
    return joints_loss(relative, truth, target[..., 3] * target[:, pelvis : pelvis + 1, 3], scale=scale)


def keypoints_2d_loss(predicted: Tensor, target: Tensor, *, scale: Tensor | None = None) -> Tensor:
    """Keypoints (B,J,2) against (B,J,3) with confidence, crop units: mean L1 distance, capped at a whole crop."""
    confidence = target[..., 2]
    return valid_mean((predicted - known(target[..., :2], confidence)).abs().clamp_max(1.0).sum(-1), confidence, scale)


def vertices_loss(predicted: Tensor, target: Tensor, valid: Tensor, kind: str = "l1") -> Tensor:
    """Vertices (B,V,3) that share an origin, metres; valid (B,): mean ``l1`` or squared ``l2`` of their coordinates."""
    apart = predicted - known(target, valid)
    return valid_mean(apart.abs() if kind == "l1" else apart.square(), valid)


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

    ``config.form`` ``published`` gives the sums of ``published_loss`` (and the cross-entropy of tokens, where it has a
    weight) in place of the means. With TALS, positions of joints and vertices count on data with true 3D alone.
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
    projected = project_to_crop(camera_keypoints, prediction.box, prediction.K)
    true_pose = known(sample["body_pose"], posed)

    def weighted(terms: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {name: float(getattr(config, f"{name}_weight")) for name in terms}
        return {name: weight * terms[name] for name, weight in weights.items() if weight}

    tokens: dict[str, Tensor] = {}
    if prediction.factor_logits is not None and config.token_weight:
        with torch.no_grad():
            digits = tokenizer.split_ids(tokenizer.encode(true_pose[:, :NUM_BODY_JOINTS]))
        tokens["token"] = token_cross_entropy(prediction.factor_logits, digits, posed, config.label_smoothing)
    if config.form == "published":
        sums = published_terms(orientation, pose, prediction.betas, camera_keypoints, projected, sample, config)
        return weighted(sums | tokens)

    measured = is_true_3d(sample) if config.tals.on else torch.ones_like(posed)
    scales = loss_scales(orientation, pose, projected, sample, config.tals)
    true_betas = known(sample["betas"], sample["has_betas"])
    with torch.no_grad():
        true_joints = body.joints(true_pose, betas=true_betas)
        true_pelvis = true_joints[:, root : root + 1]
        true_joints = true_joints - true_pelvis
        true_camera_joints = true_joints @ known(sample["global_orient"], oriented).transpose(-1, -2)
    joints = joints - pelvis
    bodies = slice(0, NUM_BODY_JOINTS)
    terms = {
        "orientation": rotation_loss(
            orientation, sample["global_orient"], sample["has_global_orient"], scale=scales.orientation
        ),
        "body_pose": rotation_loss(
            pose[:, bodies], sample["body_pose"][:, bodies], posed, scale=scales.body_pose[:, bodies]
        ),
        "joints": joints_loss(joints @ turn, true_camera_joints, oriented & measured),
        "body_joints": joints_loss(joints, true_joints, posed & measured),
        "keypoints_3d": keypoints_3d_loss(
            camera_keypoints, sample["keypoints_3d"], keypoint_index("mpii_pelvis"), scale=scales.keypoints_3d
        ),
        "keypoints_2d": keypoints_2d_loss(projected, sample["keypoints_2d"], scale=scales.keypoints_2d),
        "betas": betas_loss(prediction.betas, sample["betas"], sample["has_betas"]),
    }
    if prediction.pointed is not None:
        # Where the queries look is no body seen through a camera: TALS has nothing to say about it.
        terms["pointed"] = keypoints_2d_loss(prediction.pointed, sample["keypoints_2d"])
    if config.vertices_weight:
        with torch.no_grad():
            true_mesh = body.vertices(true_pose, betas=true_betas) - true_pelvis
        mesh = body.vertices(pose, betas=prediction.betas) - pelvis
        terms["vertices"] = vertices_loss(mesh, true_mesh, posed & measured)
    return weighted(terms | tokens)
