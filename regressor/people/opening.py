"""A photograph as it is worked on: its pixels, its camera, and where its people are.

1. The file is read once: pixels, and the lens that EXIF names.
2. People come from boxes, or from a source of keypoints: the detector, or a file.
3. A regressor that sees keypoints gets them for given boxes, too: the detector looks into each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from tokenizer.engine.errors import fail

from ..datasets.exif import exif_block, exif_lens
from ..datasets.image_files import decode_image, image_bytes
from ..geometry.boxes import Box, check_box
from .cameras import Camera, CameraOptions
from .detection.detected_person import DetectedPerson, KeypointSource
from .detection.detector import Detector
from .jobs import Job


@dataclass
class OpenedPhoto:
    """``pixels`` (H,W,3) uint8 RGB of the image of ``job``, its ``camera``, and one of ``boxes`` and of ``people`` for
    each person: None where nothing but the box is known. ``files`` written of it; ``drawn``: vertices (V,3) for
    its picture; ``rows`` of its record; ``done`` people; ``failed``: it was given up; ``notes`` on it, a line each."""

    job: Job
    pixels: np.ndarray
    camera: Camera
    boxes: tuple[Box, ...]
    people: tuple[DetectedPerson | None, ...]
    files: list[Path] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)
    done: int = 0
    failed: bool = False
    notes: list[str] = field(default_factory=list)


class Opener:
    """Opens photographs. ``source``: who finds people where a job asks for it, by default the detector, which is loaded
    when it is first needed. ``keypoints``: people of given boxes need theirs, too."""

    def __init__(
        self, cameras: CameraOptions | None = None, source: KeypointSource | None = None, *, keypoints: bool = False
    ) -> None:
        self.cameras, self.source, self.keypoints = cameras or CameraOptions(), source, keypoints

    def open(self, job: Job) -> OpenedPhoto:
        """Read the image of ``job`` and find its people: none where nobody is found.

        Raise ``UserError`` for a file that is no image, a box outside of it, and where nobody is seen in a box whose
        keypoints are needed.
        """
        data = image_bytes(job.image)
        image = decode_image(data, str(job.image))
        height, width = image.shape[:2]
        camera = self.cameras.of_image(width, height, exif_lens(exif_block(data)), str(job.image))
        people: tuple[DetectedPerson | None, ...]
        if job.detect:
            self.source = self.source or Detector()
            everybody = self.source.people(image, job.image)
            inside = tuple(person for person in everybody if _in_image(person, width, height))
            opened = OpenedPhoto(job, image, camera, tuple(person.box for person in inside), inside)
            if missing := len(everybody) - len(inside):
                opened.notes.append(f"{missing} of {len(everybody)} people of {job.image} have no keypoint inside it")
            return opened
        boxes = job.boxes or ((0.0, 0.0, float(width), float(height)),)
        for box in boxes:
            check_box(box, width, height, str(job.image))  # all of them, before anything is written
        people = self._in_boxes(image, job, boxes) if self.keypoints else (None,) * len(boxes)
        return OpenedPhoto(job, image, camera, boxes, people)

    def _in_boxes(self, image: np.ndarray, job: Job, boxes: tuple[Box, ...]) -> tuple[DetectedPerson, ...]:
        detector = self.source = self.source if isinstance(self.source, Detector) else Detector()
        people = []
        for box in boxes:
            person = detector.in_box(image, box)
            if person is None:
                place = ",".join(f"{edge:g}" for edge in box) if job.boxes else "the whole image"
                raise fail(f"No person is seen in {job.image}", got=f"box {place}", next_step="Check the box")
            people.append(person)
        return tuple(people)


def _in_image(person: DetectedPerson, width: int, height: int) -> bool:
    """Whether some part of the person is in the image: a file may name points far outside, or of no confidence."""
    x0, y0, x1, y1 = person.box
    touches = x0 < width and y0 < height and x1 > 0 and y1 > 0 and min(x1 - x0, y1 - y0) >= 1
    return bool(person.confidence.any()) and touches
