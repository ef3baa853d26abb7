"""What ``predict`` is to do, checked before anything is loaded: images, their boxes, the names of their results."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizer.engine.errors import UserError, fail

from ..datasets.image_files import IMAGE_SUFFIXES, read_header
from ..geometry.boxes import Box, check_box, parse_box, read_boxes
from .detection.model_files import COMMAND, is_installed

_TOLD = 5


@dataclass(frozen=True)
class Job:
    """An image file, the name of its results, and a box a person; no box: the whole image is one person, or its people
    are those that a source of keypoints has (``detect``): the detector, or a file; or, where a file of boxes has none
    for it (``nobody``), it is to be left out."""

    image: Path
    name: str
    boxes: tuple[Box, ...] = ()
    nobody: bool = False
    detect: bool = False


@dataclass(frozen=True)
class Jobs:
    """``todo``, and of each image that cannot be used the reason why (``left_out``), as one line."""

    todo: tuple[Job, ...]
    left_out: tuple[str, ...] = ()


def found_images(paths: Sequence[Path]) -> list[Path]:
    """Image files by name: files as they are, of folders the images in them, and of patterns (``photos/*.jpg``, which
    not every shell resolves) what fits. Raises ``UserError`` for a folder or a pattern without any."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file()
            )
            if not inside:
                raise fail(f"No images in {path}", expected=f"names ending in {', '.join(IMAGE_SUFFIXES)}")
            files += inside
        elif not path.exists() and glob.has_magic(str(path)):
            inside = sorted(Path(entry) for entry in glob.glob(str(path)) if Path(entry).is_file())  # noqa: PTH207
            if not inside:
                raise fail(f"No image fits {path}", next_step="Check the path")
            files += inside
        else:
            files.append(path)
    return files


def jobs_of(
    images: Sequence[Path], boxes: Sequence[str], boxes_file: Path | None, whole: bool, keypoints: bool = False
) -> list[Job]:
    """What to do, from the options of the command line; ``images`` as ``found_images`` takes them; ``keypoints``:
    whether a file of keypoints is given.

    Results are named like their image, with its ending where two differ in that alone. Where no option says where
    people are, they are detected, if the detector is installed. Raises ``UserError`` for several such options, or none
    without a detector, for single boxes with several images, and for two images of one name.
    """
    sources = [bool(boxes), boxes_file is not None, whole, keypoints]
    detect = keypoints or (not any(sources) and is_installed())
    if sum(sources) > 1 or not (any(sources) or detect):
        names = ("--box", "--boxes", "--whole", "--keypoints")
        options = [name for name, there in zip(names, sources, strict=True) if there]
        install = "" if is_installed() else f"Run `{COMMAND}` once, and people are found; or give "
        raise fail(
            "It is not clear where the people are",
            got=" and ".join(options) or "no option that gives it, and no detector",
            next_step=f"{install or 'Give '}--box X0,Y0,X1,Y1 for each person of one image, or --boxes FILE or "
            "--keypoints FILE for several images, or --whole where one person fills each image",
        )
    images = found_images(images)
    if boxes and len(images) > 1:
        raise fail(
            "A box belongs to one image",
            got=f"{len(images)} images with --box",
            next_step="Give one image, or --boxes FILE",
        )
    if whole or detect:
        per_image: list[list[Box]] = [[] for _ in images]
    elif boxes_file is not None:
        per_image = read_boxes(boxes_file, images)
    else:
        per_image = [[parse_box(box) for box in boxes]]
    return [
        Job(image, name, tuple(image_boxes), nobody=not (image_boxes or whole or detect), detect=detect)
        for image, name, image_boxes in zip(images, _names(images), per_image, strict=True)
    ]


def checked(jobs: Sequence[Job]) -> Jobs:
    """``jobs`` without those whose image is missing, no image, or too large, or has no box or one outside; only the
    beginnings of files are read. Raises ``UserError`` where none remains."""
    todo, left_out = [], []
    for job in jobs:
        try:
            size = read_header(job.image).size
            if job.nobody:
                raise fail(f"No box is given for {job.image}")
            if size is not None:
                for box in job.boxes:
                    check_box(box, size[0], size[1], str(job.image))
            todo.append(job)
        except UserError as error:
            left_out.append(str(error))
    if not todo:
        if len(left_out) == 1:
            raise UserError(left_out[0])
        reasons = " ".join(left_out[:_TOLD]) + (f" (and {len(left_out) - _TOLD} more)" if len(left_out) > _TOLD else "")
        raise fail(f"None of {len(jobs)} images can be used", got=reasons)
    return Jobs(tuple(todo), tuple(left_out))


def _names(images: Sequence[Path]) -> list[str]:
    names = [image.stem for image in images]
    folded = [name.casefold() for name in names]
    twice = {name for name in folded if folded.count(name) > 1}
    names = [
        f"{image.stem}_{image.suffix[1:]}" if name.casefold() in twice else name
        for image, name in zip(images, names, strict=True)
    ]
    same = sorted({name for name in names if names.count(name) > 1})
    if same:
        raise fail(
            "Results of two images would have the same name",
            got=", ".join(same[:5]),
            next_step="Predict them into different folders",
        )
    return names
