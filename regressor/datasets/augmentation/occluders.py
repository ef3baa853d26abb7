"""Occlusion patches: something is in front of a part of a training crop. Annotation stays: what is hidden is asked for.

Cutout (DeVries and Taylor, 2017), and pieces of the picture itself pasted elsewhere, as in CutPaste (Li et al., CVPR
2021).
"""

from __future__ import annotations

import numpy as np

_SIDES = (0.1, 0.4)
_FLAT = 0.5


def cover(image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """A new image (S,S,3) uint8 with one rectangle on it, anywhere, by ``draws`` (10,) from [0, 1).

    Its sides are 10 to 40 % of the crop's, its middle is inside the crop. It shows one colour or, as often, what is at
    another place of the same image.
    """
    edge = len(image)
    sides = np.maximum(1, (edge * (_SIDES[0] + draws[:2] * (_SIDES[1] - _SIDES[0]))).round().astype(int))
    low = (draws[2:4] * edge - sides / 2).round().astype(int)
    high, low = np.clip(low + sides, 1, edge), np.clip(low, 0, edge - 1)
    out = image.copy()
    if draws[4] < _FLAT:
        out[low[0] : high[0], low[1] : high[1]] = (256 * draws[5:8]).astype(np.uint8)
    else:
        size = high - low
        top, left = (draws[8:10] * (edge - size + 1)).astype(int)
        out[low[0] : high[0], low[1] : high[1]] = image[top : top + size[0], left : left + size[1]]
    return out
