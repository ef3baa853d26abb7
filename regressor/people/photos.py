"""Prediction from image files to result files: npz and OBJ a person, one overlay picture an image."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokenizer import Body
from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.atomic import write_text_atomically
from tokenizer.engine.training.memory import memory_errors
from tokenizer.engine.training.precision import Precision

from ..checkpoints.regressor_file import check_body, load_regressor
from ..export.mesh import write_image, write_obj, write_person
from ..export.overlay import overlay_picture
from ..network.model import Regressor
from .cameras import CameraOptions
from .detection.detected_person import KeypointSource
from .detection.detector import Detector
from .fitting import DEFAULT_FIT, FitOptions
from .jobs import Job, Jobs
from .opening import OpenedPhoto, Opener
from .points import DetectedPoints, detected_points, predict_points
from .predict import Crops, People, crops_of, person_arrays, predict_crops, synthetic_warning
from .records import Record, Records, write_csv, write_json

LEFT_OUT = "left_out.txt"
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


@dataclass(frozen=True)
class PredictOptions:
    """How photographs are predicted. ``cameras``: what is known of the camera; ``source``: who finds people where a job
    asks for it, None for the detector; ``fitting``: how a keypoint regressor's bodies are fitted to keypoints, None for
    not at all; ``overwrite``: images that are done are done again; ``strict``: an image of
    nobody is an error; ``csv`` and ``json``: summaries to write, a row a person."""

    outputs: Outputs = field(default_factory=Outputs)
    cameras: CameraOptions = field(default_factory=CameraOptions)
    source: KeypointSource | None = None
    overwrite: bool = False
    strict: bool = False
    fitting: FitOptions | None = DEFAULT_FIT
    csv: Path | None = None
    json: Path | None = None


@dataclass
class Predictions:
    """What was done: ``records`` of all images that could be used, those included that were ``done_before``; ``files``
    written now; images of ``nobody``; and how many images have a camera of each source (``cameras``)."""

    records: list[Record] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    nobody: list[Path] = field(default_factory=list)
    done_before: int = 0
    cameras: Counter[str] = field(default_factory=Counter)


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
    options: PredictOptions | None = None,
    progress: Callable[[int], object] | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Predictions:
    """Do ``jobs`` and write ``NAME_0.npz``, ``NAME_0.obj``, …, ``NAME_overlay.png`` into ``out``, and
    ``predictions.jsonl``, by which a second call knows what is done.

    People of several images go through the network together. The picture shows the first ``_MOST_DRAWN`` people.
    ``progress`` is called with the number of images finished. An image of nobody is no error, unless ``strict``. An
    image that cannot be used does not stop the others: ``say`` is given a line with its reason, and ``UserError``
    counts such at the end; ``out/left_out.txt`` has the lines, too.
    """
    options = options or PredictOptions()
    count = len(jobs.todo) + len(jobs.left_out)
    run = _Run(regressor, body, out, options, progress or (lambda count: None), say)
    run.alone = count == 1
    if any(job.detect for job in jobs.todo):
        run.opener.source = run.opener.source or Detector()
    run.records = Records(out, run.settings())
    for reason in jobs.left_out:
        run.leave_out(reason)
    for job in jobs.todo:
        run.add(job)
    run.finish()
    return _ended(run, count)


def _ended(run: _Run, count: int) -> Predictions:
    """Write what is about all images. Raise ``UserError`` where some could not be used, or show nobody and must not."""
    options, result = run.options, run.result
    if options.csv is not None:
        write_csv(options.csv, result.records)
    if options.json is not None:
        write_json(options.json, result.records)
    if run.problems and count == 1:
        raise UserError(run.problems[0])
    if run.problems and result.records:
        write_text_atomically(run.out / LEFT_OUT, "".join(f"{reason}\n" for reason in run.problems))
    if run.problems:
        place = f"They are listed in {run.out / LEFT_OUT}; results of the others are in {run.out}"
        what = f"{len(run.problems)} of {count} images could not be used"
        raise fail(what, next_step=place if result.records else None)
    (run.out / LEFT_OUT).unlink(missing_ok=True)
    if options.strict and result.nobody:
        where = str(result.nobody[0]) if count == 1 else f"{len(result.nobody)} of {count} images"
        raise fail(f"Nobody is found in {where}", next_step="Give --box X0,Y0,X1,Y1 for each person")
    return result


class _Run:
    """Images come in one by one; as soon as ``_AT_ONCE`` people wait, they go through the network."""

    records: Records
    alone = False

    def __init__(
        self,
        regressor: Regressor,
        body: Body,
        out: Path,
        options: PredictOptions,
        progress: Callable[[int], object],
        say: Callable[[str], object],
    ) -> None:
        self.regressor, self.body, self.out = regressor, body, out
        self.options, self.outputs = options, options.outputs
        self.progress, self.say = progress, say
        self._sees_points = regressor.config.backbone.kind == "keypoints"
        self.opener = Opener(options.cameras, options.source, keypoints=self._sees_points)
        self.problems: list[str] = []
        self.result = Predictions()
        self.faces = body.faces.cpu().numpy()
        self._waiting: list[tuple[OpenedPhoto, int]] = []

    def settings(self) -> dict[str, object]:
        """All that results depend on, in addition to the image and its boxes."""
        network, body = self.regressor, self.body
        fitting = self.options.fitting if self._sees_points else None
        return {
            "regressor": [_weights_digest(network), network.precision, network.tokenizer.digest],
            "body": [body.kind, body.gender, len(body.v_template), float(body.v_template.cpu().double().sum())],
            "options": [asdict(self.options.cameras), asdict(self.outputs), fitting and asdict(fitting)],
            "source": None if self.opener.source is None else self.opener.source.source,
        }

    def add(self, job: Job) -> None:
        before = None if self.options.overwrite else self.records.done(job)
        if before is not None:
            self.result.records.append(before)
            self.result.done_before += 1
            if not before.people:
                self._nobody(job)
            self.progress(1)
            return
        try:
            with _memory(job.image):
                opened = self.opener.open(job)
        except UserError as error:
            self._fail(None, error)
            return
        for note in opened.notes:
            self.say(f"Note: {note}")
        if not opened.boxes:
            self._nobody(job)
            self._finish_photo(opened)
        self._waiting += [(opened, number) for number in range(len(opened.boxes))]
        while len(self._waiting) >= _AT_ONCE:
            self._predict(_AT_ONCE)
        if (
            sum(photo.pixels.nbytes for photo, number in self._waiting if number == len(photo.boxes) - 1)
            > _MOST_WAITING
        ):
            self.finish()

    def _nobody(self, job: Job) -> None:
        self.result.nobody.append(job.image)
        if not (self.alone and self.options.strict):  # then it is the error itself
            self.say(f"Nobody is found in {job.image}")

    def leave_out(self, reason: str) -> None:
        self.problems.append(reason)
        if not self.alone:  # a single reason is the error itself
            self.say(f"left out: {reason}")

    def finish(self) -> None:
        while self._waiting:
            self._predict(_AT_ONCE)

    def _fail(self, opened: OpenedPhoto | None, error: UserError) -> None:
        if opened is None or not opened.failed:
            self.leave_out(str(error))
            self.progress(1)
        if opened is not None:
            opened.failed = True

    def _predict(self, most: int) -> None:
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        evidence: list[Crops | DetectedPoints] = []
        people_of: list[tuple[OpenedPhoto, int]] = []
        for opened in {id(opened): opened for opened, _ in batch}.values():
            numbers = [number for photo, number in batch if photo is opened and not opened.failed]
            try:
                if numbers:
                    evidence.append(self._evidence(opened, numbers))
                    people_of += [(opened, number) for number in numbers]
            except UserError as error:
                self._fail(opened, error)
        if not evidence:
            return
        try:
            with _memory(*dict.fromkeys(opened.job.image for opened, _ in people_of)):
                people = self._people(evidence)
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

    def _evidence(self, opened: OpenedPhoto, numbers: list[int]) -> Crops | DetectedPoints:
        """Return what the regressor sees of some people of a photograph."""
        K = opened.camera.K
        if self._sees_points:
            people = [person for person in (opened.people[number] for number in numbers) if person is not None]
            return detected_points(people, K, assumed=opened.camera.assumed)
        boxes = [opened.boxes[number] for number in numbers]
        return crops_of(self.regressor, opened.pixels, boxes, K, str(opened.job.image))

    def _people(self, evidence: list[Crops | DetectedPoints]) -> People:
        points = [part for part in evidence if isinstance(part, DetectedPoints)]
        if points:
            return predict_points(self.regressor, self.body, DetectedPoints.join(points), self.options.fitting)
        crops = [part for part in evidence if isinstance(part, Crops)]
        return predict_crops(self.regressor, self.body, Crops.join(crops))

    def _write(self, opened: OpenedPhoto, number: int, arrays: dict[str, np.ndarray]) -> None:
        if self.outputs.overlay and len(opened.drawn) < _MOST_DRAWN:
            opened.drawn.append(torch.from_numpy(arrays["vertices"]))
        stem, person, box = f"{opened.job.name}_{number}", opened.people[number], opened.boxes[number]
        files = [self.out / f"{stem}.npz"]
        if self.outputs.mesh:
            files.append(self.out / f"{stem}.obj")
            write_obj(files[-1], arrays["vertices"], self.faces)
        else:
            del arrays["vertices"]
        about = {**self._about(opened), "given_box": list(box)}
        if person is not None:
            arrays["keypoints_2d"] = person.ordered(KEYPOINT_NAMES)
            about |= {"detected_by": person.source, "score": round(person.score, 4)}
        write_person(files[0], arrays, about)
        opened.files += files
        opened.rows.append(
            {
                "image": str(opened.job.image),
                "number": number,
                "box": [round(float(edge), 2) for edge in box],
                "score": None if person is None else round(person.score, 4),
                "source": person.source if person is not None else "box given" if opened.job.boxes else "whole image",
                "camera": opened.camera.source,
                "translation": [round(float(value), 5) for value in arrays["transl"]],
                "files": [file.name for file in files],
            }
        )
        opened.done += 1
        if opened.done == len(opened.boxes):
            self._finish_photo(opened)

    def _finish_photo(self, opened: OpenedPhoto) -> None:
        if self.outputs.overlay and opened.drawn:
            picture = self.out / f"{opened.job.name}_overlay.png"
            drawn, K = torch.stack(opened.drawn), opened.camera.K
            write_image(picture, overlay_picture(opened.pixels, drawn, self.body, K))
            opened.files.append(picture)
        self.result.records.append(self.records.add(opened.job, opened.rows, opened.files))
        self.result.files += opened.files
        if opened.boxes:
            self.result.cameras[opened.camera.source] += 1
        self.progress(1)

    def _about(self, opened: OpenedPhoto) -> dict[str, Any]:
        height, width = opened.pixels.shape[:2]
        return {
            "image": str(opened.job.image),
            "image_size": [width, height],
            "camera": opened.camera.source,
            "units": "metres, pixels, radians; camera axes x right, y down, z forward; K, joints_2d of the whole image",
            "keypoints_2d": "x, y px of the whole image, confidence, of the 44 keypoints, as they were detected",
            "frame_rate": "a photograph has none; the one written is for readers that ask for one",
            "body": self.body.kind,
            "tokenizer": self.regressor.tokenizer.digest,
            "warning": synthetic_warning(self.regressor) or "",
        }


def _weights_digest(regressor: Regressor) -> str:
    """A digest of some numbers of each tensor: enough to tell two trainings apart, and no wait for a large network."""
    digest = hashlib.sha256()
    for name, tensor in regressor.network.state_dict().items():
        flat = tensor.detach().flatten()
        some = flat[:: max(1, len(flat) // 64)].float().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + some.tobytes())
    return digest.hexdigest()[:16]


def _memory(*images: Path) -> AbstractContextManager[None]:
    names = ", ".join(map(str, images[:3]))
    return memory_errors(f"at {names}", "Try --precision bf16, or --device cpu; or a smaller image")
