"""One sample of stage 2, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from tokenizer.engine.errors import fail

GENDERS = ("neutral", "female", "male")
_MOST_SURE = 1.1
"""Scores of detectors are heights of peaks, which come out a little above 1 now and then."""


class _Extras(TypedDict, total=False):
    true_3d: Tensor
    """(B,) bool: rotations and 3D were measured or rendered, not fitted to 2D (pseudo labels). Absent: all true."""
    gender: Tensor
    """(B,) int64: index into ``GENDERS`` of the body whose shape ``betas`` describe. Absent: all neutral."""
    points_2d: Tensor
    """(B,25,3): ``DETECTOR_POINTS`` as a detector found them, x, y in crop units, confidence; 0 where it did not. What
    a keypoint regressor sees in place of the image, which then has no pixels. Absent: the image is what is seen."""
    points_3d: Tensor
    """(B,25,3): the detector's own 3D of these points, metres about the middle of the hips, in the axes of the viewing
    ray of the box; zeros where ``has_points_3d`` (B,25) bool is not set."""
    has_points_3d: Tensor


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


def has_neutral_betas(sample: Sample) -> Tensor:
    """(B,) bool: whose betas are known and of the neutral body, which all predictions are of.

    The same numbers mean another shape on a female or male body: they are no truth for the neutral one.
    """
    has_betas = sample["has_betas"]
    return has_betas & (sample["gender"] == 0) if "gender" in sample else has_betas


def capped_confidences(points: np.ndarray) -> np.ndarray:
    """Keypoints (...,J,D) whose last column, confidences, ends at 1 where a detector went up to a tenth beyond it."""
    sure = points[..., -1:]
    return np.concatenate([points[..., :-1], np.where((sure > 1) & (sure <= _MOST_SURE), 1, sure)], -1)


def checked_confidences(values: Tensor) -> Tensor:
    """Return confidences (B,J) as they are. Raise ``UserError`` for any outside [0, 1], NaN included.

    Only a CPU is asked: elsewhere an answer would stop the queue of the device, so that wrong ones become NaN, and so
    does the loss, which training refuses.
    """
    fine = (values >= 0) & (values <= 1)
    if values.device.type != "cpu":
        return torch.where(fine, values, torch.nan)
    if not fine.all():
        raise fail(
            "Confidences of keypoints are none",
            got=f"{float(values[~fine][0]):g}",
            expected="0 to 1",
            next_step="Prepare these data again; 0 is a keypoint that is not known",
        )
    return values


def num_samples(sample: Sample) -> int:
    """The batch size B of a sample."""
    return len(sample["image"])


def take(sample: Sample, chosen: Tensor | slice) -> Sample:
    """The samples of a batch at ``chosen``: indices (N,) int64 or a slice."""
    return cast(Sample, {name: values[chosen] for name, values in cast(dict[str, Tensor], sample).items()})


def without_images(sample: Sample) -> Sample:
    """The same samples with images of no pixels, (B,3,0,0)."""
    return cast(Sample, {**sample, "image": sample["image"][..., :0, :0]})


def to_device(sample: Sample, device: torch.device) -> Sample:
    """The same samples on ``device``. Copies from pinned memory to a GPU are under way when this returns, in order with
    what is asked of it next."""
    tensors = {
        name: values.to(device, non_blocking=device.type == "cuda")
        for name, values in cast(dict[str, Tensor], sample).items()
    }
    return cast(Sample, tensors)


def join(samples: Sequence[Sample]) -> Sample:
    """Several batches as one. What samples may leave out is written out, as ``Sample`` takes it to be."""
    columns: list[dict[str, Tensor]] = []
    for sample in samples:
        count = num_samples(sample)
        absent = {"true_3d": torch.ones(count, dtype=torch.bool), "gender": torch.zeros(count, dtype=torch.int64)}
        columns.append({**absent, **cast(dict[str, Tensor], sample)})
    return cast(Sample, {name: torch.cat([column[name] for column in columns]) for name in columns[0]})
