"""Samples seen in a mirror: image, 2D, 3D, rotations, camera and box all at once."""

from __future__ import annotations

import torch
from torch import Tensor

from tokenizer.body.rotations import mirror_rotations
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, mirror_permutation

from ...sample import Sample

KEYPOINT_MIRROR = mirror_permutation(KEYPOINT_NAMES)
"""Which of the 44 keypoints is which in a mirror."""

_POSE_MIRROR = mirror_permutation(JOINT_NAMES[1:])


def mirror(sample: Sample, chosen: Tensor, pelvis: Tensor) -> Sample:
    """A new sample of which those that are ``chosen`` (B,) bool are left–right mirrored; the given one is not changed.

    Images and ``mirror_annotation``.
    """
    out = mirror_annotation(sample, chosen, pelvis)
    out["image"] = torch.where(chosen.view(-1, 1, 1, 1), sample["image"].flip(-1), sample["image"])
    return out


def mirror_annotation(sample: Sample, chosen: Tensor, pelvis: Tensor) -> Sample:
    """``mirror`` without the images, which stay as they are.

    The whole image is mirrored about its middle column, so that box and principal point move to the other side; names
    change sides with the pixels. ``pelvis`` (B,3): where each body's pelvis rests, about which it turns and which
    therefore enters the translation. Betas stay: the mesh is taken to be symmetric, which SMPL is to about a
    centimetre; the 3D keypoints are mirrored exactly.
    """
    out = sample.copy()
    flat = torch.tensor([-1.0, 1.0])
    space = torch.tensor([-1.0, 1.0, 1.0])

    def where(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (old.ndim - 1)), new, old)

    out["keypoints_2d"] = where(_swapped(sample["keypoints_2d"], flat), sample["keypoints_2d"])
    out["keypoints_3d"] = where(_swapped(sample["keypoints_3d"], space), sample["keypoints_3d"])
    root = mirror_rotations(sample["global_orient"][:, None], (0,))[:, 0]
    out["global_orient"] = where(root, sample["global_orient"])
    out["body_pose"] = where(mirror_rotations(sample["body_pose"], _POSE_MIRROR), sample["body_pose"])
    out["translation"] = where((sample["translation"] + pelvis) * space - pelvis, sample["translation"])

    width = sample["image_size"][:, 0].to(sample["box"])
    x0, y0, x1, y1 = sample["box"].unbind(-1)
    out["box"] = where(torch.stack([width - x1, y0, width - x0, y1], -1), sample["box"])
    K = sample["K"].clone()
    K[:, 0, 2] = width - K[:, 0, 2]
    out["K"] = where(K, sample["K"])
    return out


def _swapped(keypoints: Tensor, sign: Tensor) -> Tensor:
    """Keypoints (B,44,D+1) with confidence: coordinates times ``sign`` (D,), under the names of the other side."""
    swapped = keypoints[:, list(KEYPOINT_MIRROR)]
    return torch.cat([swapped[..., :-1] * sign, swapped[..., -1:]], -1)
