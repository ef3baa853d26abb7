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

from ..config import LossConfig
from ..geometry.camera import project_to_crop
from ..network.prediction import Prediction
from ..sample import Sample, checked_confidences, has_neutral_betas, is_true_3d
from .masking import mask_invalid, valid_mean
from .published import published_terms
from .tals import loss_scales


def rotation_loss(
    predicted: Tensor,
    target: Tensor,
    valid: Tensor,
    kind: str = "mse",
    *,
    scale: Tensor | None = None,
    total: Tensor | None = None,
) -> Tensor:
    """Rotations (B,...,3,3), valid (B,): mean square of the matrix entries, or mean ``geodesic`` angle in radians.

    ``scale`` (B,...), here and below: how much each error counts, see ``tals``; ``total``: see ``valid_mean``.
    """
    target = mask_invalid(target, valid)
    if kind == "mse":
        return valid_mean((predicted - target).square(), valid, scale, total)
    return valid_mean(geodesic_distance(predicted, target), valid, scale, total)


def joints_loss(
    predicted: Tensor, target: Tensor, valid: Tensor, *, scale: Tensor | None = None, total: Tensor | None = None
) -> Tensor:
    """Joints (B,J,3) that share an origin, metres; valid (B,) or (B,J): mean distance, which is what MPJPE scores."""
    return valid_mean((predicted - mask_invalid(target, valid)).square().sum(-1).add(1e-8).sqrt(), valid, scale, total)


def keypoints_3d_loss(
    predicted: Tensor, target: Tensor, pelvis: int, *, scale: Tensor | None = None, total: Tensor | None = None
) -> Tensor:
    """Keypoints (B,J,3) against (B,J,4) with confidence, each relative to its own keypoint ``pelvis``: mean distance.

    The pelvis's own confidence counts for all, since all are relative to it.
    """
    relative = predicted - predicted[:, pelvis : pelvis + 1]
    truth = target[..., :3] - target[:, pelvis : pelvis + 1, :3]
    confidence = checked_confidences(target[..., 3])
    return joints_loss(relative, truth, confidence * confidence[:, pelvis : pelvis + 1], scale=scale, total=total)


def keypoints_2d_loss(
    predicted: Tensor, target: Tensor, *, scale: Tensor | None = None, total: Tensor | None = None
) -> Tensor:
    """Keypoints (B,J,2) against (B,J,3) with confidence, crop units: mean L1 distance, capped at a whole crop."""
    confidence = checked_confidences(target[..., 2])
    return valid_mean(
        (predicted - mask_invalid(target[..., :2], confidence)).abs().clamp_max(1.0).sum(-1), confidence, scale, total
    )


def vertices_loss(
    predicted: Tensor, target: Tensor, valid: Tensor, kind: str = "l1", *, total: Tensor | None = None
) -> Tensor:
    """Vertices (B,V,3) that share an origin, metres; valid (B,): mean ``l1`` or squared ``l2`` of their coordinates."""
    apart = predicted - mask_invalid(target, valid)
    return valid_mean(apart.abs() if kind == "l1" else apart.square(), valid, total=total)


def betas_loss(predicted: Tensor, target: Tensor, valid: Tensor, *, total: Tensor | None = None) -> Tensor:
    """Shape (B,S) against (B,S), valid (B,): mean square."""
    return valid_mean((predicted - mask_invalid(target, valid)).square(), valid, total=total)


def token_cross_entropy(
    factor_logits: Sequence[Tensor],
    digits: Sequence[Tensor],
    valid: Tensor,
    label_smoothing: float = 0.0,
    *,
    total: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of logits (B,T,L_f) with the true digits (B,T) of each factor, valid (B,).

    Mean over samples and tokens of the sum over factors: the negative log-likelihood of a token in nats.
    """
    nats = torch.zeros((), device=valid.device)
    for logits, digit in zip(factor_logits, digits, strict=True):
        loss = F.cross_entropy(logits.flatten(0, 1), digit.flatten(), reduction="none", label_smoothing=label_smoothing)
        nats = nats + valid_mean(loss.view_as(digit), valid, total=total)
    return nats


def weight_sums(sample: Sample, config: LossConfig) -> dict[str, Tensor]:
    """How many entries each mean of ``regression_loss`` is taken over, by term, 0-dim: what confidences add up to."""
    return {name: weight.sum() for name, weight in _weights(sample, config).items()}


def _weights(sample: Sample, config: LossConfig) -> dict[str, Tensor]:
    has_pose = sample["has_body_pose"]
    has_orientation = sample["has_global_orient"] & has_pose
    measured = is_true_3d(sample) if config.tals.on else torch.ones_like(has_pose)
    pelvis = keypoint_index("mpii_pelvis")
    confidence_2d = checked_confidences(sample["keypoints_2d"][..., 2])
    confidence_3d = checked_confidences(sample["keypoints_3d"][..., 3])
    return {
        "orientation": sample["has_global_orient"],
        "body_pose": has_pose,
        "joints": has_orientation & measured,
        "body_joints": has_pose & measured,
        "vertices": has_pose & measured,
        "betas": has_neutral_betas(sample),
        "token": has_pose & is_true_3d(sample),
        "keypoints_2d": confidence_2d,
        "soft_argmax": confidence_2d,
        "keypoints_3d": confidence_3d * confidence_3d[:, pelvis : pelvis + 1],
    }


def regression_loss(
    prediction: Prediction,
    sample: Sample,
    body: Body,
    tokenizer: FrozenTokenizer,
    config: LossConfig,
    *,
    totals: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of the training loss; terms of weight 0 are left out. What a sample does not know (``has_*``,
    confidences) does not count, neither directly nor through another term: where the shape is not known, or is that of
    a female or male body, joints and vertices compare poses of the predicted shape, which they do not change.
    Rotations, joints and keypoints need ``body``, neutral, to be of the kind of the annotation.

    ``config.form`` ``published`` gives the sums of ``published_loss`` (and the cross-entropy of tokens, where it has a
    weight) in place of the means. Tokens are asked for on data with true 3D alone, for those of a pseudo label are no
    truth; with TALS positions of joints and vertices, too.
    ``totals``: the ``weight_sums`` of a larger batch, of which this is a part; terms of its parts add up to its own.
    """
    orientation, pose = prediction.global_orient[:, 0], prediction.body_pose
    root = index("pelvis")
    weights = _weights(sample, config)
    totals = totals or {name: weight.sum() for name, weight in weights.items()}
    has_pose, has_orientation = sample["has_body_pose"], sample["has_global_orient"] & sample["has_body_pose"]

    # One forward pass in the body frame serves every frame: the root turns all points about the pelvis.
    joints = body.joints(pose, betas=prediction.betas)
    keypoints = body.keypoints(pose, betas=prediction.betas)
    pelvis = joints[:, root : root + 1]
    turn = orientation.transpose(-1, -2)
    camera_keypoints = (keypoints - pelvis) @ turn + pelvis + prediction.camera_translation()[:, None]
    projected = project_to_crop(camera_keypoints, prediction.box, prediction.K)
    true_pose = mask_invalid(sample["body_pose"], has_pose)

    def weighted(terms: dict[str, Tensor]) -> dict[str, Tensor]:
        factors = {name: float(getattr(config, f"{name}_weight")) for name in terms}
        return {name: factor * terms[name] for name, factor in factors.items() if factor}

    tokens: dict[str, Tensor] = {}
    if prediction.factor_logits is not None and config.token_weight:
        with torch.no_grad():
            digits = tokenizer.split_ids(tokenizer.encode(true_pose[:, :NUM_BODY_JOINTS], check=False))
        tokens["token"] = token_cross_entropy(
            prediction.factor_logits, digits, weights["token"], config.label_smoothing, total=totals["token"]
        )
    if config.form == "published":
        sums = published_terms(orientation, pose, prediction.betas, camera_keypoints, projected, sample, config)
        return weighted(sums | tokens)

    scales = loss_scales(orientation, pose, projected, sample, config.tals)
    # Of an unknown shape nothing is learned: both bodies have the predicted one, and no gradient leads to it.
    shaped = has_neutral_betas(sample)[:, None]
    own_betas = prediction.betas.detach()
    betas, true_betas = (torch.where(shaped, values, own_betas) for values in (prediction.betas, sample["betas"]))
    with torch.no_grad():
        true_joints = body.joints(true_pose, betas=true_betas)
        true_pelvis = true_joints[:, root : root + 1]
        true_joints = true_joints - true_pelvis
        true_camera_joints = true_joints @ mask_invalid(sample["global_orient"], has_orientation).transpose(-1, -2)
    joints = body.joints(pose, betas=betas)
    pelvis = joints[:, root : root + 1]
    joints = joints - pelvis
    bodies = slice(0, NUM_BODY_JOINTS)
    terms = {
        "orientation": rotation_loss(
            orientation,
            sample["global_orient"],
            weights["orientation"],
            scale=scales.orientation,
            total=totals["orientation"],
        ),
        "body_pose": rotation_loss(
            pose[:, bodies],
            sample["body_pose"][:, bodies],
            has_pose,
            scale=scales.body_pose[:, bodies],
            total=totals["body_pose"],
        ),
        "joints": joints_loss(joints @ turn, true_camera_joints, weights["joints"], total=totals["joints"]),
        "body_joints": joints_loss(joints, true_joints, weights["body_joints"], total=totals["body_joints"]),
        "keypoints_3d": keypoints_3d_loss(
            camera_keypoints,
            sample["keypoints_3d"],
            keypoint_index("mpii_pelvis"),
            scale=scales.keypoints_3d,
            total=totals["keypoints_3d"],
        ),
        "keypoints_2d": keypoints_2d_loss(
            projected, sample["keypoints_2d"], scale=scales.keypoints_2d, total=totals["keypoints_2d"]
        ),
        "betas": betas_loss(prediction.betas, sample["betas"], weights["betas"], total=totals["betas"]),
    }
    if prediction.soft_argmax_keypoints is not None:
        # Where the queries look is no body seen through a camera: TALS does not apply.
        terms["soft_argmax"] = keypoints_2d_loss(
            prediction.soft_argmax_keypoints, sample["keypoints_2d"], total=totals["soft_argmax"]
        )
    if config.vertices_weight:
        with torch.no_grad():
            true_mesh = body.vertices(true_pose, betas=true_betas) - true_pelvis
        mesh = body.vertices(pose, betas=betas) - pelvis
        terms["vertices"] = vertices_loss(mesh, true_mesh, weights["vertices"], total=totals["vertices"])
    return weighted(terms | tokens)
