"""Prediction from image files to result files: npz and OBJ a person, one overlay picture an image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.training.memory import memory_errors
from tokenizer.engine.training.precision import Precision

from ..checkpoints.regressor_file import check_body, load_regressor
from ..datasets.image_files import read_image
from ..export.mesh import write_image, write_obj, write_person
from ..export.overlay import lay_over, overlay, side_view
from ..geometry.boxes import Box, check_box
from ..geometry.camera import DEFAULT_FOV_DEG, assumed_intrinsics
from ..network.model import Regressor
from .detection.detector import Detector
from .jobs import Job, Jobs
from .predict import Crops, crops_of, person_arrays, predict_crops, synthetic_warning

LEFT_OUT = "left_out.txt"
_PICTURE_PX = 1024
_SIDE_VIEWS = 4
_SIDE_PX = 512
_AT_ONCE = 32
"""People who go through the network together, of one image or of several: a crowd needs no more memory than they."""
_MOST_WAITING = 1 << 28
"""Bytes of images that wait for others to go with."""
_MOST_DRAWN = 100


@dataclass(frozen=True)
class Outputs:
    """Files written in addition to a person's arrays: ``mesh``: its OBJ, and vertices in the npz; ``overlay``: a
    picture an image."""

    mesh: bool = True
    overlay: bool = True


@dataclass
class _Open:
    """An image being worked on: its pixels, camera and boxes; what was written of it, and how many people are done."""

    job: Job
    pixels: np.ndarray
    K: Tensor
    boxes: tuple[Box, ...]
    files: list[Path] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    done: int = 0
    failed: bool = False


def load_for(
    body: Body, regressor_file: Path, tokenizer_file: Path, device: str, precision: Precision = "fp32"
) -> Regressor:
    """Load a regressor for use with ``body``, both on ``device``; ``precision`` as for ``load_regressor``.

    Raises ``UserError`` for another kind of body than it was trained with.
    """
    regressor = load_regressor(regressor_file, tokenizer=tokenizer_file, device=device, precision=precision)
    check_body(regressor_file, regressor.provenance, body.kind)
    body.to(regressor.network.mean_betas.device)
    return regressor


def predict_files(
    regressor: Regressor,
    body: Body,
    jobs: Jobs,
    out: Path,
    fov_deg: float | None = None,
    outputs: Outputs | None = None,
    progress: Callable[[int], object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """Do ``jobs`` and return the files written: ``NAME_0.npz``, ``NAME_0.obj``, …, ``NAME_overlay.png`` in ``out``.

    People of several images go through the network together. The picture shows the first ``_MOST_DRAWN`` people.
    ``fov_deg``: diagonal field of view, None where the camera is unknown. ``progress`` is called with the number of
    images finished. An image that cannot be used does not stop the others: ``say`` is given a line with its reason, and
    ``UserError`` counts such at the end; ``out/left_out.txt`` has the lines, too. Boxes of jobs that ask for it are
    detected.
    """
    count = len(jobs.todo) + len(jobs.left_out)
    tell = say if count > 1 else lambda text: None  # a single reason is the error itself
    run = _Run(regressor, body, out, fov_deg, outputs or Outputs(), progress or (lambda count: None), tell)
    if any(job.detect for job in jobs.todo):
        run.detector = Detector()
    for reason in jobs.left_out:
        run.leave_out(reason)
    for job in jobs.todo:
        run.add(job)
    run.finish()
    if run.problems and count == 1:
        raise UserError(run.problems[0])
    if run.problems and run.written:
        write_text_atomically(out / LEFT_OUT, "".join(f"{reason}\n" for reason in run.problems))
    if run.problems:
        place = f"They are listed in {out / LEFT_OUT}; results of the others are in {out}" if run.written else None
        raise fail(f"{len(run.problems)} of {count} images could not be used", next_step=place)
    return run.written


class _Run:
    """Images come in one by one; as soon as ``_AT_ONCE`` people wait, they go through the network."""

    def __init__(
        self,
        regressor: Regressor,
        body: Body,
        out: Path,
        fov_deg: float | None,
        outputs: Outputs,
        progress: Callable[[int], object],
        say: Callable[[str], object],
    ) -> None:
        self.regressor, self.body, self.out, self.fov_deg, self.outputs = regressor, body, out, fov_deg, outputs
        self.progress, self.say = progress, say
        self.problems: list[str] = []
        self.written: list[Path] = []
        self.faces = body.faces.cpu().numpy()
        self._waiting: list[tuple[_Open, int]] = []
        self.detector: Detector | None = None

    def add(self, job: Job) -> None:
        try:
            with _memory(job.image):
                opened = self._open(job)
        except UserError as error:
            self._fail(None, error)
            return
        self._waiting += [(opened, number) for number in range(len(opened.boxes))]
        while len(self._waiting) >= _AT_ONCE:
            self._predict(_AT_ONCE)
        if (
            sum(photo.pixels.nbytes for photo, number in self._waiting if number == len(photo.boxes) - 1)
            > _MOST_WAITING
        ):
            self.finish()

    def leave_out(self, reason: str) -> None:
        self.problems.append(reason)
        self.say(f"left out: {reason}")

    def finish(self) -> None:
        while self._waiting:
            self._predict(_AT_ONCE)

    def _open(self, job: Job) -> _Open:
        image = read_image(job.image)
        height, width = image.shape[:2]
        K = assumed_intrinsics(width, height, DEFAULT_FOV_DEG if self.fov_deg is None else self.fov_deg)
        boxes = job.boxes or ((0.0, 0.0, float(width), float(height)),)
        if job.detect and self.detector is not None:
            boxes = tuple(person.box for person in self.detector.people(image))
            if not boxes:
                raise fail(f"Nobody is found in {job.image}", next_step="Give --box X0,Y0,X1,Y1 for each person")
        for box in boxes:
            check_box(box, width, height, str(job.image))  # all of them, before anything is written
        return _Open(job, image, K, boxes)

    def _fail(self, opened: _Open | None, error: UserError) -> None:
        if opened is None or not opened.failed:
            self.leave_out(str(error))
            self.progress(1)
        if opened is not None:
            opened.failed = True

    def _predict(self, most: int) -> None:
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        crops: list[Crops] = []
        people_of: list[tuple[_Open, int]] = []
        for opened in {id(opened): opened for opened, _ in batch}.values():
            numbers = [number for photo, number in batch if photo is opened and not opened.failed]
            boxes = [opened.boxes[number] for number in numbers]
            try:
                if boxes:
                    crops.append(crops_of(self.regressor, opened.pixels, boxes, opened.K, str(opened.job.image)))
                    people_of += [(opened, number) for number in numbers]
            except UserError as error:
                self._fail(opened, error)
        if not crops:
            return
        try:
            with _memory(*dict.fromkeys(opened.job.image for opened, _ in people_of)):
                people = predict_crops(self.regressor, self.body, Crops.join(crops))
        except UserError as error:
            for opened, _ in people_of:
                self._fail(opened, error)
            return
        finite = people.vertices.isfinite().flatten(1).all(1).tolist()
        for place, (opened, number) in enumerate(people_of):
            if not finite[place]:
                message = f"Non-finite prediction for {opened.job.image}"
                precision = f"precision {self.regressor.precision}"
                self._fail(opened, fail(message, got=precision, next_step="Try --precision fp32"))
            if not opened.failed:
                self._write(opened, number, person_arrays(people, place, self.body))

    def _write(self, opened: _Open, number: int, arrays: dict[str, np.ndarray]) -> None:
        if self.outputs.overlay and len(opened.drawn) < _MOST_DRAWN:
            opened.drawn.append(torch.from_numpy(arrays["vertices"]))
        stem = f"{opened.job.name}_{number}"
        if self.outputs.mesh:
            write_obj(self.out / f"{stem}.obj", arrays["vertices"], self.faces)
        else:
            del arrays["vertices"]
        write_person(self.out / f"{stem}.npz", arrays, {**self._about(opened), "given_box": list(opened.boxes[number])})
        opened.files += [self.out / f"{stem}.npz", *([self.out / f"{stem}.obj"] if self.outputs.mesh else [])]
        opened.done += 1
        if opened.done < len(opened.boxes):
            return
        if self.outputs.overlay:
            picture = self.out / f"{opened.job.name}_overlay.png"
            write_image(picture, overlay_picture(opened.pixels, torch.stack(opened.drawn), self.body.faces, opened.K))
            opened.files.append(picture)
        self.written += opened.files
        self.progress(1)

    def _about(self, opened: _Open) -> dict[str, Any]:
        height, width = opened.pixels.shape[:2]
        assumed = f"assumed: diagonal field of view {DEFAULT_FOV_DEG:g}°"
        return {
            "image": str(opened.job.image),
            **({"detected_by": self.detector.source} if opened.job.detect and self.detector is not None else {}),
            "image_size": [width, height],
            "camera": assumed if self.fov_deg is None else f"{self.fov_deg:g}° given",
            "units": "metres, pixels, radians; camera axes x right, y down, z forward; K, joints_2d of the whole image",
            "frame_rate": "a photograph has none; the one written is for readers that ask for one",
            "body": self.body.kind,
            "tokenizer": self.regressor.tokenizer.digest,
            "warning": synthetic_warning(self.regressor) or "",
        }


def _memory(*images: Path) -> AbstractContextManager[None]:
    names = ", ".join(map(str, images[:3]))
    return memory_errors(f"at {names}", "Try --precision bf16, or --device cpu; or a smaller image")


def overlay_picture(image: np.ndarray, vertices: Tensor, faces: Tensor, K: Tensor) -> np.ndarray:
    """Bodies (B,V,3) where they stand, over the image (H,W,3) uint8 RGB with its K (3,3), and to the right of it each
    of the first four from its side → (h,w,3) uint8, at most 1024 px high and wide before the side views."""
    scale = min(1.0, _PICTURE_PX / max(image.shape[:2]))
    width, height = (max(1, round(edge * scale)) for edge in (image.shape[1], image.shape[0]))
    front = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # Pixel centres lie at +0.5, so that a smaller picture scales all of K.
    smaller = torch.diag(torch.tensor([width / image.shape[1], height / image.shape[0], 1.0])) @ K.cpu()
    front = overlay(front, vertices.cpu(), faces.cpu(), smaller)
    edge = min(height // min(len(vertices), _SIDE_VIEWS), _SIDE_PX)
    centred = vertices[:_SIDE_VIEWS].cpu()
    centred = centred - (centred.amin(1, keepdim=True) + centred.amax(1, keepdim=True)) / 2
    column = np.full((height, edge, 3), 255, np.uint8)
    sides = np.concatenate(list(side_view(centred, faces.cpu(), edge)))
    column[: len(sides)] = lay_over(column[: len(sides)], sides, 1.0)
    return np.concatenate([front, column], 1)
