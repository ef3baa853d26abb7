"""People in photographs: BlazePose's models, run by LiteRT.

1. The detector looks at windows of the image; non-maximum suppression leaves one detection a person.
2. A landmark model sees the region of each, turned upright, and once more the region that its landmarks span.
3. Whoever scores too low, or was found twice, is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tokenizer.engine.errors import fail

from ...datasets.cropping import resample
from ...geometry.boxes import Box
from .blazepose import (
    DETECTOR_PX,
    LANDMARK_NAMES,
    LANDMARK_PX,
    Detections,
    Landmarks,
    Region,
    decode_detections,
    decode_landmarks,
)
from .detected_person import DetectedPerson, box_of_keypoints
from .model_files import ModelName, installed_models, read_model
from .suppression import joined, overlaps, part_of_person, same_person, suppress, windows

_PRESENT = 0.5
"""Presence below which a landmark is not in the picture."""
_HOPELESS = 0.1
"""Score of a first crop below which a second is not worth its time."""
_WORSE = 0.2
"""A refined crop in which a person scores so much lower is not taken."""
_BOX_REGION = 1.25
"""Sides of the square that is looked at about a given box, in longer sides of the box."""
_IN_BOX = 0.15
"""Overlap (intersection over union) with a given box below which a person is somebody else."""


@dataclass(frozen=True)
class DetectionOptions:
    """``threshold``: least score of a detection and of a person; at 0.3 people appear who are not there.
    ``half_size``: look through windows of half the size, too. ``refinements``: how often the crop follows its
    landmarks. ``most``: people an image."""

    threshold: float = 0.5
    half_size: bool = True
    refinements: int = 1
    most: int = 100


class Detector:
    """The models, loaded once. ``source`` is the name that predictions carry: ``blazepose-heavy`` or
    ``blazepose-full``.

    ``landmarks``: which landmark model; None takes heavy where it is installed. ``threads`` of each model. Raise
    ``UserError`` where a model is not installed or damaged, and where LiteRT is not.
    """

    def __init__(
        self,
        landmarks: Literal["full", "heavy"] | None = None,
        options: DetectionOptions | None = None,
        threads: int | None = None,
    ) -> None:
        name: ModelName = landmarks or ("heavy" if "heavy" in installed_models() else "full")
        self.options = options or DetectionOptions()
        self.source = f"blazepose-{name}"
        threads = threads or min(os.cpu_count() or 1, 4)
        self._detector, self._landmarks = _Model("detector", threads), _Model(name, threads)

    def people(self, image: np.ndarray, path: Path | None = None) -> list[DetectedPerson]:
        """Return the people in ``image`` (H,W,3) uint8 RGB, those who are large and sure first."""
        found: list[Landmarks] = []
        detections = self.detect(image)
        sizes = np.linalg.norm(detections.tops - detections.hips, axis=1)
        for number in np.argsort(-detections.scores * np.sqrt(sizes), kind="stable"):
            person = self.landmarks(image, detections.region(number), known=found)
            if person is not None and not any(same_person(person, other) for other in found):
                found.append(person)
            if len(found) == self.options.most:
                break
        return [
            self._person(person, image)
            for person in found
            if not any(part_of_person(person, other) for other in found if other is not person)
        ]

    def in_box(self, image: np.ndarray, box: Box) -> DetectedPerson | None:
        """Return the person in a ``box`` around somebody, with that box; None where nobody is seen in it.

        Candidates are the detections in a square about it, and the square itself, upright.
        """
        corners = np.array(box, np.float64)
        side = float((corners[2:] - corners[:2]).max()) * _BOX_REGION
        x, y = ((corners[:2] + corners[2:]) / 2).tolist()
        square = Region((x, y), max(side, 1.0))
        detections = self.detect(image, [square])
        best: tuple[float, DetectedPerson] | None = None
        for region in (*(detections.region(number) for number in range(len(detections))), square):
            landmarks = self.landmarks(image, region)
            if landmarks is None:
                continue
            person = self._person(landmarks, image)
            fit = float(overlaps(corners, np.array([person.box]))[0])
            if best is None or fit > best[0]:
                best = fit, person
        if best is None or best[0] < _IN_BOX:
            return None
        return replace(best[1], box=box)

    def detect(self, image: np.ndarray, looked_at: Sequence[Region] | None = None) -> Detections:
        """Return where people are, before landmarks: one detection a person. ``looked_at``: windows, by default those
        of the whole image."""
        height, width = image.shape[:2]
        parts = []
        for window in looked_at or windows(width, height, half_size=self.options.half_size):
            crop = _crop(image, window, DETECTOR_PX)
            offsets, logits = self._detector(crop.astype(np.float32) / 127.5 - 1)
            parts.append(decode_detections(offsets, logits[:, 0], window, self.options.threshold))
        return suppress(joined(parts))

    def landmarks(self, image: np.ndarray, region: Region, known: Sequence[Landmarks] = ()) -> Landmarks | None:
        """Return the person in ``region``, None where there is none, or one of ``known``.

        In a video, ``following`` of the last frame is a region, too.
        """
        person = self._landmarks_once(image, region)
        if person.score < _HOPELESS or any(same_person(person, other) for other in known):
            return None
        for _ in range(self.options.refinements):
            refined = self._landmarks_once(image, person.following)
            if refined.score < person.score - _WORSE:
                break
            person = refined
        return person if person.score >= self.options.threshold else None

    def _landmarks_once(self, image: np.ndarray, region: Region) -> Landmarks:
        crop = _crop(image, region, LANDMARK_PX)
        landmarks, score, _segmentation, heat, world = self._landmarks(crop.astype(np.float32) / 255)
        return decode_landmarks(landmarks, world, float(score[0]), heat, region)

    def _person(self, person: Landmarks, image: np.ndarray) -> DetectedPerson:
        height, width = image.shape[:2]
        confidence = np.where(person.presence >= _PRESENT, person.visibility, 0).astype(np.float32)
        return DetectedPerson(
            LANDMARK_NAMES,
            person.points,
            confidence,
            box_of_keypoints(person.points, confidence),
            person.score,
            self.source,
            person.world * person.has_world[:, None],
            person.has_world,
        ).within(width, height)


def detect_people(image: np.ndarray, *, threshold: float = 0.5) -> list[DetectedPerson]:
    """Return the people in ``image`` (H,W,3) uint8 RGB, those who are large and sure first; an empty list where nobody
    is found. ``threshold``: least score of a person.

    The models are loaded once. Raise ``UserError`` where they are not installed (`pose-regressor install-detector`).
    """
    return _loaded(DetectionOptions(threshold=threshold)).people(image)


@lru_cache(maxsize=1)
def _loaded(options: DetectionOptions) -> Detector:
    return Detector(options=options)


def _crop(image: np.ndarray, region: Region, size: int) -> np.ndarray:
    """The pixels of ``region`` as (size,size,3) uint8, black beyond the image."""
    return resample(image, region.image_from_crop(size), size, outside="black")


class _Model:
    """A model of TensorFlow Lite: an image (H,W,3) float32 in, its outputs in order out, without the batch axis."""

    def __init__(self, name: ModelName, threads: int) -> None:
        content = read_model(name)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise fail(
                "The detector needs ai-edge-litert",
                got=error,
                next_step="Run `pip install 'pose-token-hmr[people]'`, or give boxes or keypoints of your own",
            ) from None
        with _quiet():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [output["index"] for output in self._interpreter.get_output_details()]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the runtime's note on its kernels, which it writes to the process's stderr, off the terminal."""
    try:
        kept = os.dup(2)
    except OSError:  # closed: nothing is written anyway
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
