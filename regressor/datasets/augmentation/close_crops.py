"""Extreme crops: the frame closes in on a part of the body, as where a photograph or a door frame cuts people off."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tokenizer.body.skeleton import KEYPOINT_NAMES

_ARMS = ("shoulder", "elbow", "wrist")
_LEGS = ("hip", "knee", "ankle", "big_toe", "heel")
_PARTS = {
    "upper body": ("nose", "neck", *(f"{side}_{name}" for side in ("left", "right") for name in (*_ARMS, "hip"))),
    "torso": tuple(f"{side}_{name}" for side in ("left", "right") for name in ("shoulder", "hip")),
    "head": ("nose", "neck", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    "legs": tuple(f"{side}_{name}" for side in ("left", "right") for name in _LEGS),
    "left arm": tuple(f"left_{name}" for name in _ARMS),
    "right arm": tuple(f"right_{name}" for name in _ARMS),
    "left leg": tuple(f"left_{name}" for name in _LEGS),
    "right leg": tuple(f"right_{name}" for name in _LEGS),
}
PARTS: dict[str, tuple[int, ...]] = {
    part: tuple(i for i, keypoint in enumerate(KEYPOINT_NAMES) if keypoint.removeprefix("lsp_") in names)
    for part, names in _PARTS.items()
}
"""What a frame can close in on: indices of keypoints, those of LSP among them, since a data set may know only one kind
of them."""

_LEAST_KNOWN = 3
_LEAST_SIDE = 0.2
"""Of the old box: in smaller frames hardly a pixel is left of an ordinary crop."""
_MARGIN = (1.1, 1.6)


def close_crops(keypoints: Tensor, chosen: np.ndarray, draws: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Frames around a random part of each body: ``zoom`` (B,) and ``shift`` (B,2) as ``augmentation.reframe`` takes
    them, and ``found`` (B,) bool, where there is such a frame.

    ``keypoints`` (B,44,3): in crop units with confidence, as rolled as the frame will be. Of those ``chosen`` (B,) bool
    a part is drawn, by ``draws`` (B,4) from [0, 1); where fewer than 3 of its keypoints are known and inside the crop,
    there is no frame.
    """
    zoom, shift = torch.ones(len(keypoints)), torch.zeros(len(keypoints), 2)
    found = torch.zeros(len(keypoints), dtype=torch.bool)
    parts = list(PARTS.values())
    for i in np.flatnonzero(chosen).tolist():
        part = parts[int(draws[i, 0] * len(parts))]
        points = keypoints[i, list(part)]
        points = points[(points[:, 2] > 0) & (points[:, :2].abs() < 0.5).all(1), :2]
        if len(points) < _LEAST_KNOWN:
            continue
        low, high = points.amin(0), points.amax(0)
        margin = _MARGIN[0] + float(draws[i, 1]) * (_MARGIN[1] - _MARGIN[0])
        side = ((high - low).amax() * margin).clamp(_LEAST_SIDE, 1.0)
        zoom[i], found[i] = side, True
        shift[i] = (low + high) / 2 + torch.from_numpy(draws[i, 2:] - 0.5) * 0.2 * side
    return zoom, shift, found
