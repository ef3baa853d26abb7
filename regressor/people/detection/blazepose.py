"""The numbers of BlazePose: crops that its models see, and people decoded from the tensors that they answer.

Follows MediaPipe's published graphs (Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", 2020).
Everything is numpy; no model is run here.

1. ``decode_detections``: offsets from 2254 anchors → where a person's hips are, how large they are, how they lean.
2. ``Region``: the square about the hips, turned so that the person stands upright in it, from which a crop is cut.
3. ``decode_landmarks``: 33 points in the crop, refined by heat maps, back in the image; world landmarks turned as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DETECTOR_PX, LANDMARK_PX = 224, 256
LANDMARK_NAMES = (
    "nose",
    *(f"{side}_{part}" for side in ("left", "right") for part in ("eye_inner", "eye", "eye_outer")),
    "left_ear",
    "right_ear",
    "left_mouth",
    "right_mouth",
    *(
        f"{side}_{part}"
        for part in (
            *("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
            *("hip", "knee", "ankle", "heel", "foot_index"),
        )
        for side in ("left", "right")
    ),
)
"""The 33 landmarks; left is the person's left. ``foot_index`` is the tip of the foot, between the toes."""
HIPS = (LANDMARK_NAMES.index("left_hip"), LANDMARK_NAMES.index("right_hip"))
BODY = slice(LANDMARK_NAMES.index("left_shoulder"), None)
"""Landmarks from the shoulders on, by which people are told apart."""

_STRIDES = ((8, 2), (16, 2), (32, 6))
"""Pixels between anchors, and how many stand at each place."""
_LANDMARKS, _AUXILIARY = 39, (33, 34)
"""Landmarks that the model answers, and the two of them that give the next crop."""
_REGION_SCALE = 1.25
_SHRUNKEN = ("pinky", "index", "thumb", "heel", "foot_index")
"""World landmarks that lie too close to wrists and ankles: they are no 3D."""
_HEAT_RADIUS, _HEAT_LEAST = 3, 0.5
"""Refinement looks at 7 × 7 cells of a heat map, where one of them is at least so high."""


@dataclass(frozen=True)
class Region:
    """A square of the image: its ``centre`` x, y and ``side`` in pixels; ``angle`` by which it is turned clockwise,
    radians."""

    centre: tuple[float, float]
    side: float
    angle: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """The rotation (2,2) from directions in the crop to directions in the image."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cosine, -sine], [sine, cosine]])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (...,2) in units of the crop, (0,0) to (1,1) → pixels of the image."""
        return self.side * (points - 0.5) @ self.axes.T + self.centre

    def image_from_crop(self, size: int) -> np.ndarray:
        """The map (2,3) from pixel indices of a crop of ``size`` px to pixel indices of the image."""
        linear = self.axes * (self.side / size)
        offset = np.array(self.centre) - 0.5 - linear @ np.full(2, size / 2 - 0.5)
        return np.concatenate([linear, offset[:, None]], 1)


@dataclass(frozen=True)
class Detections:
    """People found in one or several windows: ``scores`` (N,) in [0,1]; ``boxes`` (N,4) x0,y0,x1,y1 of head and
    shoulders, ``hips`` (N,2) their middle, ``tops`` (N,2) the end of a circle about the hips that holds the body, which
    lies where the head points. Pixels."""

    scores: np.ndarray
    boxes: np.ndarray
    hips: np.ndarray
    tops: np.ndarray

    def __len__(self) -> int:
        """The number of people."""
        return len(self.scores)

    def region(self, number: int) -> Region:
        """The square about one person."""
        return region_of(self.hips[number], self.tops[number])


@dataclass(frozen=True)
class Landmarks:
    """One person: ``points`` (33,2) px of the image; ``visibility`` and ``presence`` (33,) in [0,1]: whether a point is
    seen, and whether it is in the picture; ``world`` (33,3) m about the hips, camera axes, of which ``has_world`` (33,)
    says which can be used; ``score`` in [0,1]; ``following``: the region that these landmarks span."""

    points: np.ndarray
    visibility: np.ndarray
    presence: np.ndarray
    world: np.ndarray
    has_world: np.ndarray
    score: float
    following: Region


def anchors() -> np.ndarray:
    """Centres of the anchors (2254,2) in units of the window."""
    grids = []
    for stride, count in _STRIDES:
        cells = DETECTOR_PX // stride
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        grids.append(np.repeat((np.stack([columns, rows], 1) + 0.5) / cells, count, axis=0))
    return np.concatenate(grids).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits → probabilities, float32."""
    return (1 / (1 + np.exp(-np.clip(logits.astype(np.float32), -60, 60)))).astype(np.float32)


def decode_detections(offsets: np.ndarray, logits: np.ndarray, window: Region, threshold: float) -> Detections:
    """The answer of the detector to one ``window`` (not turned), ``offsets`` (2254,12) and ``logits`` (2254,) → people
    whose score is ``threshold`` at least, before suppression."""
    scores = sigmoid(logits)
    sure = scores >= threshold
    values = offsets[sure].reshape(-1, 6, 2) / DETECTOR_PX
    centres = anchors()[sure]
    middle, half = window.to_image(values[:, 0] + centres), window.side * values[:, 1] / 2
    points = window.to_image(values[:, 2:4] + centres[:, None])
    return Detections(scores[sure], np.concatenate([middle - half, middle + half], 1), points[:, 0], points[:, 1])


def region_of(hips: np.ndarray, top: np.ndarray) -> Region:
    """The region about ``hips`` (2,) in which the direction to ``top`` (2,) is up."""
    across, down = (float(value) for value in top - hips)
    side = max(2 * _REGION_SCALE * math.hypot(across, down), 1.0)
    return Region((float(hips[0]), float(hips[1])), side, math.atan2(across, -down))


def decode_landmarks(
    landmarks: np.ndarray, world: np.ndarray, score: float, heat_logits: np.ndarray, region: Region
) -> Landmarks:
    """The answer of a landmark model to the crop of ``region`` → a person in the image.

    ``landmarks`` (195,): 39 times x, y, z in crop pixels, and logits of visibility and presence; ``world`` (117,): 39
    times x, y, z in metres along the axes of the crop; ``heat_logits`` (64,64,39).
    """
    values = landmarks.reshape(_LANDMARKS, 5)
    in_crop = refine_by_heat(values[:, :2] / LANDMARK_PX, heat_logits)
    points = region.to_image(in_crop).astype(np.float32)
    metres = world.reshape(_LANDMARKS, 3)[: len(LANDMARK_NAMES)].astype(np.float32)
    # The crop was cut with the person upright: what lies along its axes lies along turned axes of the camera.
    metres = np.concatenate([metres[:, :2] @ region.axes.T.astype(np.float32), metres[:, 2:]], 1)
    count = len(LANDMARK_NAMES)
    return Landmarks(
        points[:count],
        sigmoid(values[:count, 3]),
        sigmoid(values[:count, 4]),
        metres - metres[list(HIPS)].mean(0),
        np.array([name.partition("_")[2] not in _SHRUNKEN for name in LANDMARK_NAMES]),
        float(score),
        region_of(points[_AUXILIARY[0]], points[_AUXILIARY[1]]),
    )


def refine_by_heat(points: np.ndarray, heat_logits: np.ndarray) -> np.ndarray:
    """Points (J,2) in units of the crop, each moved to the centre of mass of its heat map (H,W,J) about it.

    Points whose heat map is low there, and points outside it, stay.
    """
    height, width, _ = heat_logits.shape
    refined = points.astype(np.float64)
    for number, (x, y) in enumerate(points):
        if not (0 <= x < 1 and 0 <= y < 1):
            continue
        column, row = int(x * width), int(y * height)
        rows = slice(max(row - _HEAT_RADIUS, 0), min(row + _HEAT_RADIUS + 1, height))
        columns = slice(max(column - _HEAT_RADIUS, 0), min(column + _HEAT_RADIUS + 1, width))
        heat = sigmoid(heat_logits[rows, columns, number])
        if heat.max() >= _HEAT_LEAST:
            total = heat.sum()
            across = (heat.sum(0) * np.arange(columns.start, columns.stop)).sum() / total
            down = (heat.sum(1) * np.arange(rows.start, rows.stop)).sum() / total
            refined[number] = across / width, down / height
    return refined
