"""The one sample that every data set of stage 2 becomes."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor

GENDERS = ("neutral", "female", "male")


class _Extras(TypedDict, total=False):
    true_3d: Tensor
    """(B,) bool: rotations and 3D were measured or rendered, not fitted to 2D (pseudo labels). Absent: all true."""
    gender: Tensor
    """(B,) int64: index into ``GENDERS`` of the body the annotation is of. Absent: all neutral."""


class Sample(_Extras):
    """A batch of crops with their annotation. Losses never change it.

    Lengths in metres, camera frame with OpenCV axes. The body in the camera frame is
    ``body.vertices(body_pose, root=global_orient, betas=betas, translation=translation)``.
    """

    image: Tensor
    """(B,3,S,S) uint8 RGB: ``box`` of the full image resampled."""
    keypoints_2d: Tensor
    """(B,44,3): x, y in crop units [−0.5, 0.5], confidence."""
    keypoints_3d: Tensor
    """(B,44,4): camera frame, confidence."""
    global_orient: Tensor
    """(B,3,3) body to camera."""
    body_pose: Tensor
    """(B,23,3,3); hands rest."""
    betas: Tensor
    """(B,10)."""
    translation: Tensor
    """(B,3); zeros where it is not known."""
    has_global_orient: Tensor
    """(B,) bool: what is known of this sample; likewise below."""
    has_body_pose: Tensor
    has_betas: Tensor
    box: Tensor
    """(B,4) x0,y0,x1,y1 in pixels of the full image, square."""
    image_size: Tensor
    """(B,2) width, height in pixels."""
    K: Tensor
    """(B,3,3) of the full image; where the camera is not known, ``camera.assumed_intrinsics``."""


def is_true_3d(sample: Sample) -> Tensor:
    """(B,) bool: whose rotations and 3D keypoints are no pseudo labels."""
    everybody = torch.ones(len(sample["keypoints_2d"]), dtype=torch.bool, device=sample["keypoints_2d"].device)
    return sample.get("true_3d", everybody)
