"""What every source of 2D keypoints yields: people as named points with confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ...geometry.boxes import Box

_OUTSIDE = 0.02
"""How far outside the image, in longer sides of it, a point still counts: a hand that is just cut off."""
_SURE = 0.3
"""Confidence from which a keypoint says where a person is."""
_BOX_MARGIN = 1.2
"""A box is so much larger than the box of the keypoints, which end at eyes, wrists and toes."""


@dataclass(frozen=True)
class DetectedPerson:
    """One person in an image.

    ``names`` (J): what the points are; where it is one of the 44 keypoints, under that name. ``points`` (J,2) in
    pixels, pixel centres at +0.5; ``confidence`` (J,) in [0,1], 0: unknown. ``box`` around the person, pixels.
    ``score``: how sure the source is that this is a person. ``source`` names the model or file that answered.
    ``points_3d`` (J,3) in metres about the middle of the hips, camera axes (x right, y down, z forward), zeros where
    ``has_3d`` (J,) is false.
    """

    names: tuple[str, ...]
    points: np.ndarray
    confidence: np.ndarray
    box: Box
    score: float
    source: str
    points_3d: np.ndarray | None = None
    has_3d: np.ndarray | None = None

    def ordered(self, names: Sequence[str]) -> np.ndarray:
        """Return the points of these names as (len(names),3): x, y, confidence; zeros where the source has none."""
        rows = {name: row for row, name in enumerate(self.names) if name}
        values = np.zeros((len(names), 3), np.float32)
        for place, name in enumerate(names):
            row = rows.get(name)
            if row is not None and self.confidence[row] > 0:
                values[place] = (*self.points[row], self.confidence[row])
        return values

    def within(self, width: int, height: int) -> DetectedPerson:
        """Return the person with confidence 0 for points outside an image of that size, which are guesses."""
        slack = _OUTSIDE * max(width, height)
        inside = ((self.points >= -slack) & (self.points <= np.array([width, height]) + slack)).all(1)
        return replace(self, confidence=self.confidence * inside)


class KeypointSource(Protocol):
    """The detector, or a file of keypoints; ``source`` names it."""

    source: str

    def people(self, image: np.ndarray, path: Path) -> list[DetectedPerson]:
        """Return the people in ``image`` (H,W,3) uint8 RGB, which was read from ``path``."""


def box_of_keypoints(points: np.ndarray, confidence: np.ndarray) -> Box:
    """Return the box around the confident ones of ``points`` (J,2), all where hardly any is, with a margin; pixels."""
    known = confidence > 0
    sure = confidence >= _SURE
    used = points[sure] if sure.sum() > 1 else points[known] if known.any() else points
    low, high = used.min(0), used.max(0)
    middle, half = (low + high) / 2, np.maximum((high - low) * _BOX_MARGIN / 2, 1.0)
    x0, y0, x1, y1 = (float(value) for value in (*(middle - half), *(middle + half)))
    return x0, y0, x1, y1
