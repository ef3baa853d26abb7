"""2D keypoints that another detector wrote, as JSON: a source like our own detector.

COCO's files and results (17 keypoints, COCO-WholeBody 133), Halpe 26 and 136 (AlphaPose), OpenPose (25, 18) are read by
``datasets.readers.coco``, which data sets go through, too. Here are the files of inference programs:

- MMPose: ``instance_info`` or a list of instances with ``keypoints`` and ``keypoint_scores``; of ViTPose within MMPose,
  too.
- easy_ViTPose: ``keypoints`` by frame and person, each y, x, score, and names in ``skeleton``.
"""

from __future__ import annotations

import hashlib
import math
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.body.skeleton import KEYPOINT_NAMES
from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.text_files import read_json

from ...datasets.annotation import ImageRecord, ReadOptions
from ...datasets.readers import coco
from ...datasets.readers.fields import flat_numbers, keypoints_by_name, numbers
from ...datasets.readers.keypoint_names import layout
from .detected_person import DetectedPerson, box_of_keypoints

_EXPECTED = "COCO's keypoints or results, OpenPose, AlphaPose, MMPose or easy_ViTPose"


class KeypointFile:
    """People of several images, from a JSON file or a folder of such.

    ``images``: the images that keypoints are wanted for; files that hold one image are named like it. ``notes``: a line
    on each person who was left out; ``source``: path and content of the files, for people to read. Raise ``UserError``
    for a file of no known form, and where no image has anybody.
    """

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self._people: dict[str, list[DetectedPerson]] = {}
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise fail(f"No JSON in {path}", expected=f"files of {_EXPECTED}")
        content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        self.source = f"{path}, SHA-256 {content[:12]}…"
        for file in files:
            self._read(file, images)
        if not any(self._people.get(_key(image)) for image in images):
            raise fail(
                f"{path} has no people of {images[0]}" + (", nor of the others" if len(images) > 1 else ""),
                got="; ".join(self.notes[:3])
                or f"people of {', '.join(map(str, list(self._people)[:3])) or 'no image'}",
                next_step="Name images in the file as they are named on disk, or the file like its image",
            )

    def people(self, image: np.ndarray, path: Path) -> list[DetectedPerson]:
        """Return the people the file has of the image at ``path``; ``image`` (H,W,3) gives its size."""
        height, width = image.shape[:2]
        return [person.within(width, height) for person in self._people.get(_key(path), [])]

    def _read(self, file: Path, images: Sequence[Path]) -> None:
        try:
            content = read_json(file)
        except (OSError, ValueError) as error:
            raise fail(f"Cannot read {file}", got=error, expected=f"JSON of {_EXPECTED}") from None
        answer = _mmpose(content) or _easy_vitpose(content)
        if answer is not None:
            self._add_answer(file, answer, images)
        else:
            self._add_annotation(file, images)

    def _add_answer(self, file: Path, answer: _Answer, images: Sequence[Path]) -> None:
        """People of a file that does not name its image: it is named like it, and has one frame."""
        if len(answer.frames) > 1:
            raise fail(f"{file} is of a video", got=f"{len(answer.frames)} frames", expected="keypoints of one image")
        stems = {_plain(file.stem), _plain(file.stem.removeprefix("results_"))}
        named = images if len(images) == 1 else [image for image in images if _plain(image.stem) in stems]
        for number, instance in enumerate(answer.frames[0] if answer.frames else []):
            try:
                person = _person(instance, answer.names, file.name, f"{file}, person {number}")
            except UserError as error:
                self.notes.append(str(error))
                continue
            for image in named:
                self._people.setdefault(_key(image), []).append(person)

    def _add_annotation(self, file: Path, images: Sequence[Path]) -> None:
        """People of a file in a form of data sets; names in it are looked up in the folders of the images."""
        wanted = {_key(image) for image in images}
        roots = list(dict.fromkeys(image.parent for image in images))
        # OpenPose's files are named like their image; of a single image any is meant.
        for root in (*roots, *(images if len(images) == 1 else ())):
            for record in self._records(file, root):
                key = _key(record.image) if isinstance(record.image, Path) else ""
                if key in wanted:
                    people = self._people.setdefault(key, [])
                    people += [_detected(person.keypoints_2d, person.box, file.name) for person in record.people]
            if len(images) == 1 and self._people:
                break

    def _records(self, file: Path, root: Path) -> Iterator[ImageRecord]:
        for task in coco.read([file], ReadOptions(images=root)).parts:
            for item in task.photos():
                if isinstance(item, ImageRecord):
                    yield item
                elif item.broken and (note := f"{item.name}: {item.reason}") not in self.notes:
                    self.notes.append(note)


@dataclass(frozen=True)
class _Answer:
    """What an inference program wrote: ``frames`` of people, each with ``keypoints`` x, y and ``keypoint_scores``;
    ``names`` of the keypoints, None where the file has none."""

    frames: list[list[dict[str, Any]]]
    names: list[str] | None = None


def _mmpose(content: Any) -> _Answer | None:
    names = None
    if isinstance(content, dict) and "instance_info" in content:
        about = content.get("meta_info")
        names = _names(about.get("keypoint_id2name") if isinstance(about, dict) else None)
        content = content["instance_info"]
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        return None
    if all("keypoints" in item and "keypoint_scores" in item for item in content):
        return _Answer([content], names)
    if all(_is_list(item.get("instances")) for item in content):
        return _Answer([item["instances"] for item in content], names)
    return None


def _easy_vitpose(content: Any) -> _Answer | None:
    frames = content.get("keypoints") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not _is_list(frames) or "skeleton" not in content:
        return None
    return _Answer(
        [
            [
                {
                    "keypoints": [point[1::-1] if isinstance(point, list) else point for point in points],
                    "keypoint_scores": [point[2:] if isinstance(point, list) else point for point in points],
                }
                for points in frame.values()
                if isinstance(points, list)
            ]
            for frame in frames
        ],
        _names(content["skeleton"]),
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _names(by_number: Any) -> list[str] | None:
    """Names of keypoints, given as {"0": name, …} → in order; None where they are not."""
    if not isinstance(by_number, dict):
        return None
    names = [by_number.get(str(number)) for number in range(len(by_number))]
    return [str(name) for name in names] if names and None not in names else None


def _person(instance: dict[str, Any], names: list[str] | None, source: str, where: str) -> DetectedPerson:
    """One of an inference program's people. Raise ``UserError`` for numbers that are none, or other counts of them."""
    if not isinstance(instance.get("keypoints"), list) or "keypoint_scores" not in instance:
        raise fail(f"{where} has no keypoints and keypoint_scores", got=f"keys {', '.join(instance) or 'none'}"[:120])
    points = numbers(instance["keypoints"], (None, 2), f"{where}: keypoints")
    scores = flat_numbers(instance["keypoint_scores"], f"{where}: keypoint_scores").clip(0, 1)
    if len(scores) != len(points):
        raise fail(f"{where} has another number of scores", got=len(scores), expected=f"{len(points)}, one a keypoint")
    known = keypoints_by_name(np.concatenate([points, scores[:, None]], 1), layout(len(points), names, where))
    if not (known[:, 2] > 0).any():
        raise fail(f"{where} has no keypoint of any confidence")
    box = flat_numbers(instance.get("bbox", []), f"{where}: bbox")
    fits = len(box) == 4 and (box[2:] - box[:2] >= 1).all()
    person = _detected(known, box if fits else None, source)
    return replace(person, score=_score(instance.get("bbox_score"), person.score))


def _score(value: Any, otherwise: float) -> float:
    value = value[0] if isinstance(value, list) and value else value
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) and math.isfinite(value) else otherwise


def _detected(keypoints: np.ndarray | None, box: np.ndarray | None, source: str) -> DetectedPerson:
    """A person of keypoints (44,3): x, y, confidence; the box (4,) is around them where there is none."""
    assert keypoints is not None
    points, confidence = keypoints[:, :2].astype(np.float32), keypoints[:, 2].astype(np.float32)
    around = box_of_keypoints(points, confidence)
    if box is not None:
        x0, y0, x1, y1 = (float(value) for value in box)
        around = (x0, y0, x1, y1)
    score = float(confidence[confidence > 0].mean())
    return DetectedPerson(KEYPOINT_NAMES, points, confidence, around, score, source)


def _key(path: Path) -> str:
    """The same text for the same file, however it is named."""
    return unicodedata.normalize("NFC", os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
