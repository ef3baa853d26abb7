"""COCO person keypoints: one JSON of ``images`` and ``annotations``, of COCO itself or a user's own in its form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import UserError, fail

from ..photo import LeftOut, Part, Person, Photo, Reading, ReadOptions, file_key, listed_parts
from .fields import box_around, keypoints_by_name, numbers
from .joint_orders import COCO17

_MARGIN = 1.2


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read JSON files with 17 keypoints x, y, visibility a person and ``bbox`` x, y, width, height.

    A keypoint that is labelled counts, hidden or not. Crowds and people without a labelled keypoint are counted and
    left out; an annotation that is damaged is left out and listed. Raises ``UserError`` for a file that is none such.
    """
    parts: list[Part] = []
    for path in sources:
        key, content = file_key(path), _content(path)
        photos = _photos(path, content, options.images or path.parent)
        parts += listed_parts(f"{key} {options.images}", options.split, photos, options.people)
    return Reading(parts, {"boxes": f"those of the annotation × {_MARGIN}, square by their longer side"})


def _content(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise fail(f"Cannot read {path}", got=error, expected="COCO keypoints as JSON") from None
    fits = isinstance(content, dict) and all(
        isinstance(content.get(name), list) and all(isinstance(item, dict) for item in content[name])
        for name in ("images", "annotations")
    )
    if not fits:
        raise fail(f"{path} is no file of COCO keypoints", got=_keys(content), expected="lists images and annotations")
    return content


def _keys(content: Any) -> str:
    return f"keys {', '.join(content) or 'none'}"[:120] if isinstance(content, dict) else type(content).__name__


def _photos(path: Path, content: dict[str, list[dict[str, Any]]], images: Path) -> Iterator[Photo | LeftOut]:
    # Numbers or words name images; as text, whatever stands there names something.
    by_image: dict[str, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(str(annotation.get("image_id")), []).append(annotation)
    for image in content["images"]:
        name = image.get("file_name")
        if not isinstance(name, str):
            yield LeftOut(f"{path.name}, image {image.get('id')}", "has no file_name")
            continue
        people = []
        for number, annotation in enumerate(by_image.pop(str(image.get("id")), [])):
            where = f"{name}, annotation {annotation.get('id', number)}"
            if annotation.get("iscrowd"):
                yield LeftOut(where, "a crowd", broken=False)
                continue
            try:
                person = _person(annotation, where)
            except UserError as error:
                yield LeftOut(where, str(error))
                continue
            if person is None:
                yield LeftOut(where, "no keypoint is labelled", broken=False)
            else:
                people.append(person)
        yield Photo(name, images / name, tuple(people))
    for name, rest in by_image.items():
        yield LeftOut(f"{path.name}, image {name}", f"{len(rest)} annotations of an image that is not in the file")


def _person(annotation: dict[str, Any], where: str) -> Person | None:
    points = annotation.get("keypoints")
    if points is None:
        return None
    points = numbers(points, (3 * len(COCO17),), f"{where}: keypoints").reshape(-1, 3)
    if not (points[:, 2] > 0).any():
        return None
    points = np.concatenate([points[:, :2], points[:, 2:] > 0], 1)
    x, y, width, height = numbers(annotation.get("bbox"), (4,), f"{where}: bbox")
    size = _MARGIN * np.array([width, height])
    return Person(
        box_around(np.array([x + width / 2, y + height / 2]), size),
        keypoints_2d=keypoints_by_name(points * (points[:, 2:] > 0), COCO17),
        true_3d=False,
    )
