"""One person once: windows to look through, and what is found more than once in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .blazepose import BODY, Detections, Landmarks, Region

_SAME_BOX = 0.3
"""Overlap (intersection over union) from which two boxes are of one person."""
_SAME_KEYPOINTS = 0.06
"""Mean distance of keypoints, in sides of the person's region, below which two people are one."""
_INSIDE, _SMALL, _UNSURE = 0.8, 0.4, 0.8
"""A figure is part of a person if so much of its box lies inside that person's, whose area and mean visibility it does
not reach by these factors: a glove or a face taken for somebody. A child in front of an adult is as visible."""


def windows(width: int, height: int, *, half_size: bool = True) -> list[Region]:
    """Squares of an image that the detector looks at: the whole of it, and with ``half_size`` squares of half its
    longer side, which overlap by half or more, for people who are small in it."""
    whole = float(max(width, height))
    squares = [Region((width / 2, height / 2), whole)]
    if half_size and whole > 1:
        side = whole / 2
        squares += [Region((x, y), side) for y in _centres(height, side) for x in _centres(width, side)]
    return squares


def _centres(length: int, side: float) -> Sequence[float]:
    """Centres of windows along one edge of the image, half a window apart at most."""
    if length <= side:
        return (length / 2,)
    count = math.ceil(2 * (length / side - 1)) + 1
    return tuple(float(value) for value in np.linspace(side / 2, length - side / 2, count))


def joined(parts: Sequence[Detections]) -> Detections:
    """Detections of several windows as one."""
    return Detections(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.hips for part in parts]),
        np.concatenate([part.tops for part in parts]),
    )


def suppress(detections: Detections) -> Detections:
    """Return one detection a person, the surest first: of overlapping ones the mean, weighted by score."""
    left = np.argsort(-detections.scores, kind="stable")
    scores, boxes, hips, tops = [], [], [], []
    while len(left):
        same = overlaps(detections.boxes[left[0]], detections.boxes[left]) > _SAME_BOX
        same[0] = True
        members = left[same]
        weights = detections.scores[members] / detections.scores[members].sum()
        scores.append(detections.scores[members[0]])
        boxes.append(weights @ detections.boxes[members])
        hips.append(weights @ detections.hips[members])
        tops.append(weights @ detections.tops[members])
        left = left[~same]
    if not scores:
        return detections
    return Detections(np.array(scores), np.stack(boxes), np.stack(hips), np.stack(tops))


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) and boxes (N,4) → (N,)."""
    shared = (np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])).clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    return shared / np.maximum(areas + (box[2:] - box[:2]).clip(0).prod() - shared, 1e-9)


def same_person(one: Landmarks, other: Landmarks) -> bool:
    """Return whether two are one person, found twice: keypoints from the shoulders on lie close together."""
    distance = np.linalg.norm(one.points[BODY] - other.points[BODY], axis=1).mean()
    return bool(distance < _SAME_KEYPOINTS * max(one.following.side, other.following.side))


def part_of_person(one: Landmarks, other: Landmarks) -> bool:
    """Return whether ``one`` is a figure seen into a part of ``other``."""
    box, whole = (np.concatenate([person.points.min(0), person.points.max(0)]) for person in (one, other))
    area, whole_area = ((corners[2:] - corners[:2]).prod() for corners in (box, whole))
    inside = (np.minimum(box[2:], whole[2:]) - np.maximum(box[:2], whole[:2])).clip(0).prod()
    unsure = one.visibility[BODY].mean() < _UNSURE * other.visibility[BODY].mean()
    return bool(inside >= _INSIDE * area and area <= _SMALL * whole_area and unsure)
