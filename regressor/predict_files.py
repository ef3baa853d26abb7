"""Prediction from image files to result files: npz and OBJ a person, one overlay picture an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from tokenizer import Body
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.memory import memory_errors
from tokenizer.engine.precision import Precision

from .boxes import Box, check_box, parse_box, read_boxes
from .camera import DEFAULT_FOV_DEG, assumed_intrinsics
from .datasets.crops import read_image
from .export import write_image, write_obj, write_person
from .model import Regressor
from .overlay import lay_over, overlay, side_view
from .predict import person_arrays, predict_people, synthetic_warning
from .weights import check_body, load_regressor

_PICTURE_PX = 1024
_SIDE_VIEWS = 4
_AT_ONCE = 32
"""People of an image who go through the network together: a crowd needs no more memory than they."""
_MOST_DRAWN = 100


@dataclass(frozen=True)
class Job:
    """An image file, the name of its results, and a box a person; no box: the whole image is one person."""

    image: Path
    name: str
    boxes: tuple[Box, ...] = ()


def jobs_of(images: Sequence[Path], boxes: Sequence[str], boxes_file: Path | None, whole: bool) -> list[Job]:
    """What to do, from the options of the command line.

    Raises ``UserError`` unless there is exactly one source of boxes, for single boxes with several images, and for two
    images whose results would have one name.
    """
    sources = [bool(boxes), boxes_file is not None, whole]
    if sum(sources) != 1:
        given = [name for name, there in zip(("--box", "--boxes", "--whole"), sources, strict=True) if there]
        raise fail("It is not clear where the people are", got=" and ".join(given) or "no option that tells it",
                   next_step="Give --box X0,Y0,X1,Y1 for each person of one image, or --boxes FILE for several images, "
                             "or --whole where one person fills each image")  # fmt: skip
    if boxes and len(images) > 1:
        raise fail("A box belongs to one image", got=f"{len(images)} images with --box",
                   next_step="Give one image, or --boxes FILE")  # fmt: skip
    names = [image.stem for image in images]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fail("Results of two images would have the same name", got=", ".join(twice[:5]),
                   next_step="Predict them into different folders")  # fmt: skip
    if whole:
        per_image: list[list[Box]] = [[] for _ in images]
    elif boxes_file is not None:
        per_image = read_boxes(boxes_file, images)
    else:
        per_image = [[parse_box(box) for box in boxes]]
    return [Job(image, name, tuple(some)) for image, name, some in zip(images, names, per_image, strict=True)]


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
    regressor: Regressor, body: Body, jobs: Iterable[Job], out: Path, fov_deg: float | None = None
) -> list[Path]:
    """Do ``jobs`` and return the files written: ``NAME_0.npz``, ``NAME_0.obj``, …, ``NAME_overlay.png`` in ``out``.

    The picture shows the first ``_MOST_DRAWN`` people. ``fov_deg``: diagonal field of view, None where the camera is
    unknown. An image that cannot be used does not stop
    the others; ``UserError`` tells of all such at the end.
    """
    written: list[Path] = []
    problems: list[str] = []
    count = 0
    for job in jobs:
        count += 1
        try:
            with memory_errors(f"at {job.image}", "Try --precision bf16, or --device cpu; or a smaller image"):
                written += _predict_file(regressor, body, job, out, fov_deg)
        except UserError as error:
            problems.append(str(error))
    if problems and count == 1:
        raise UserError(problems[0])
    if problems:
        raise fail(f"{len(problems)} of {count} images could not be used", got=" ".join(problems),
                   next_step=f"Results of the others are in {out}")  # fmt: skip
    return written


def _predict_file(regressor: Regressor, body: Body, job: Job, out: Path, fov_deg: float | None) -> list[Path]:
    image = read_image(job.image)
    height, width = image.shape[:2]
    K = assumed_intrinsics(width, height, DEFAULT_FOV_DEG if fov_deg is None else fov_deg)
    boxes = job.boxes or ((0.0, 0.0, float(width), float(height)),)
    for box in boxes:
        check_box(box, width, height, str(job.image))  # all of them, before anything is written
    about = {
        "image": str(job.image),
        "image_size": [width, height],
        "camera": f"assumed: diagonal field of view {DEFAULT_FOV_DEG:g}°" if fov_deg is None else f"{fov_deg:g}° given",
        "units": "metres, pixels, radians; camera axes x right, y down, z forward; K and joints_2d of the whole image",
        "body": body.kind,
        "tokenizer": regressor.tokenizer.digest,
        "warning": synthetic_warning(regressor) or "",
    }
    files = []
    faces = body.faces.cpu().numpy()
    drawn: list[Tensor] = []
    for number in range(len(boxes)):
        if number % _AT_ONCE == 0:
            some = boxes[number : number + _AT_ONCE]
            people = predict_people(regressor, body, image, some, K, where=str(job.image))
            if not people.vertices.isfinite().all():
                raise fail(f"What is predicted for {job.image} is no number", got=f"precision {regressor.precision}",
                           next_step="Try --precision fp32")  # fmt: skip
            drawn += list(people.vertices[: max(0, _MOST_DRAWN - len(drawn))])
        arrays = person_arrays(people, number % _AT_ONCE)
        stem = out / f"{job.name}_{number}"
        write_person(stem.with_name(f"{stem.name}.npz"), arrays, {**about, "given_box": list(boxes[number])})
        write_obj(stem.with_name(f"{stem.name}.obj"), arrays["vertices"], faces)
        files += [stem.with_name(f"{stem.name}.npz"), stem.with_name(f"{stem.name}.obj")]
    files.append(out / f"{job.name}_overlay.png")
    write_image(files[-1], overlay_picture(image, torch.stack(drawn), body.faces, K))
    return files


def overlay_picture(image: np.ndarray, vertices: Tensor, faces: Tensor, K: Tensor) -> np.ndarray:
    """Bodies (B,V,3) where they stand, over the image (H,W,3) uint8 RGB with its K (3,3), and to the right of it each
    of the first four from its side → (h,w,3) uint8, at most 1024 px high and wide before the side views."""
    scale = min(1.0, _PICTURE_PX / max(image.shape[:2]))
    width, height = (max(1, round(edge * scale)) for edge in (image.shape[1], image.shape[0]))
    front = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    # Pixel centres lie at +0.5, so that a smaller picture scales all of K.
    smaller = torch.diag(torch.tensor([width / image.shape[1], height / image.shape[0], 1.0])) @ K.cpu()
    front = overlay(front, vertices.cpu(), faces.cpu(), smaller)
    edge = height // min(len(vertices), _SIDE_VIEWS)
    some = vertices[:_SIDE_VIEWS].cpu()
    some = some - (some.amin(1, keepdim=True) + some.amax(1, keepdim=True)) / 2
    column = np.full((height, edge, 3), 255, np.uint8)
    sides = np.concatenate(list(side_view(some, faces.cpu(), edge)))
    column[: len(sides)] = lay_over(column[: len(sides)], sides, 1.0)
    return np.concatenate([front, column], 1)
