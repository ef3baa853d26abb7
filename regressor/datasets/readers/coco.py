"""People's 2D keypoints as JSON: COCO's files and what detectors and annotation programs write in their form.

1. The content tells the form: COCO (``images``, ``annotations``), a list of results (AlphaPose, COCO's results format),
   or OpenPose (``people``, a file an image; AlphaPose's ``cmu`` and ``open`` hold many in one, by the names of images).
2. Keypoints are read by the names in ``categories[].keypoints``, else by how many there are; confidences stay.
3. People become annotated photographs; each photograph is found by its name, and its size goes with it to be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.text_files import read_json

from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask, SkippedItem, file_key, listed_tasks
from ..image_names import ImageFolder
from .fields import box_around, box_of_points, flat_numbers, keypoints_by_name, numbers
from .joint_orders import BODY25, COCO18, FEET
from .keypoint_names import layout

_MARGIN = 1.2
_SURE = 0.3
"""Confidence from which a keypoint counts for a person's box."""
_OPENPOSE = {25: BODY25, 18: COCO18}
_PEOPLE = frozenset(
    (
        "person",
        "persons",
        "people",
        "human",
        "humans",
        "man",
        "men",
        "woman",
        "women",
        "child",
        "children",
        "boy",
        "girl",
        "adult",
        "pedestrian",
        "pedestrians",
        "athlete",
        "athletes",
        "player",
        "players",
        "dancer",
        "worker",
        "climber",
        "runner",
        "skier",
        "swimmer",
        "rider",
        "body",
    )
)
"""Words in the names of categories that are people."""


@dataclass
class _Read:
    """What was found on the way: names of keypoints that are used, and of those that are not."""

    used: dict[str, None] = field(default_factory=dict)
    unused: dict[str, None] = field(default_factory=dict)

    def note(self, names: list[str] | None, own_names: tuple[str, ...]) -> None:
        self.used.update(dict.fromkeys(filter(None, own_names)))
        self.unused.update(dict.fromkeys(name for name, own_name in zip(names or [], own_names) if not own_name))

    @property
    def text(self) -> str:
        text = f"{len(self.used)} kinds, by name"
        return text + (f"; not used: {', '.join(self.unused)}" if self.unused else "")


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read JSON files of keypoints, or folders of them.

    A keypoint counts by its confidence (COCO's visibility 1 and 2 count whole). The box is that of the annotation, else
    that around the keypoints. Crowds and people without a labelled keypoint are counted and left out; what is no
    person, or damaged, is left out and listed. Raises ``UserError`` for a file that is none such.
    """
    seen = _Read()
    parts: list[ReadTask] = []
    for source in sources:
        for path in _files(source):
            key, content = file_key(path), _content(path)
            usual = [] if options.images else [path.parent / "images", path.parent.parent / "images"]
            folder = ImageFolder(options.images or path.parent, usual)
            if "people" in content:
                photos = _openpose(path, content["people"], folder, seen)
            elif "by_image" in content:
                photos = _by_image(content["by_image"], folder, seen)
            elif "results" in content:
                photos = _results(path, content["results"], folder, seen)
            else:
                photos = _photos(path, content, folder, seen)
            parts += listed_tasks(f"{key} {options.images}", options.split, photos, options.people)
    boxes = (
        f"those of the annotation, or around the keypoints where there are none, "
        f"× {_MARGIN}, square by their longer side"
    )
    return Reading(parts, {"boxes": boxes, "keypoints": seen.text})


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    files = sorted(source.glob("*.json"))
    if not files:
        raise fail(f"No JSON in {source}", expected="files of keypoints, of COCO, OpenPose or AlphaPose")
    return files


def _content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists of a file: images and annotations (and categories), results, people, or people by the image."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise fail(f"Cannot read {path}", got=error, expected="COCO keypoints as JSON") from None
    people = _people(content)
    if people is not None:
        return {"people": people}
    if isinstance(content, dict) and content and all(_people(entry) is not None for entry in content.values()):
        return {"by_image": [{"name": name, "people": _people(entry)} for name, entry in content.items()]}
    if isinstance(content, list) and content and _is_list(content) and all("keypoints" in item for item in content):
        return {"results": content}
    if not isinstance(content, dict) or not all(_is_list(content.get(name)) for name in ("images", "annotations")):
        raise fail(
            f"{path} is no file of COCO keypoints",
            got=_keys(content),
            expected="lists images and annotations, "
            "a list of results with image_id and keypoints, or OpenPose's people",
        )
    return content


def _people(content: Any) -> list[dict[str, Any]] | None:
    """OpenPose's list of the people in an image, under either name that AlphaPose gives it."""
    lists = [content.get("people"), content.get("bodies")] if isinstance(content, dict) else []
    return next((value for value in lists if _is_list(value)), None)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _keys(content: Any) -> str:
    return f"keys {', '.join(content) or 'none'}"[:120] if isinstance(content, dict) else type(content).__name__


@dataclass(frozen=True)
class _Category:
    """A category of annotations in a file; ``keypoints``: their names, None where there are none."""

    name: str
    person: bool
    keypoints: list[str] | None


def _categories(content: dict[str, Any]) -> dict[str, _Category]:
    """By id as text; empty where a file has none."""
    listed: Any = content.get("categories")
    categories = {}
    for item in listed if _is_list(listed) else []:
        name, above = str(item.get("name", "")), str(item.get("supercategory") or "")
        words = set(re.findall(r"[a-z]+", f"{name} {above}".lower()))
        names = item.get("keypoints")
        fits = isinstance(names, list) and names and all(isinstance(keypoint, str) for keypoint in names)
        known = name if not above or above == name else f"{name} ({above})"
        categories[str(item.get("id"))] = _Category(known, bool(words & _PEOPLE), names if fits else None)
    return categories


def _photos(path: Path, content: dict[str, Any], folder: ImageFolder, seen: _Read) -> Iterator[Item]:
    # Numbers or words name images; as text, whatever stands there names something.
    by_image: dict[str, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(str(annotation.get("image_id")), []).append(annotation)
    categories = _categories(content)
    name_of_file: dict[Path, str] = {}
    for image in content["images"]:
        name = image.get("file_name")
        if not isinstance(name, str):
            yield SkippedItem(f"{path.name}, image {image.get('id')}", "has no file_name")
            continue
        people = []
        for number, annotation in enumerate(by_image.pop(str(image.get("id")), [])):
            where = f"{name}, annotation {annotation.get('id', number)}"
            try:
                person = _person(annotation, categories, where, seen)
            except UserError as error:
                yield SkippedItem(where, str(error))
                continue
            if isinstance(person, SkippedItem):
                yield person
            else:
                people.append(person)
        file = folder.find(name)
        if name_of_file.setdefault(file, name) != name:
            yield SkippedItem(name, f"leads to {file}, and so does {name_of_file[file]}")
        else:
            yield ImageRecord(name, file, tuple(people), size=_size(image))
    for name, unclaimed in by_image.items():
        yield SkippedItem(
            f"{path.name}, image {name}", f"{len(unclaimed)} annotations of an image that is not in the file"
        )


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """Width and height of the picture that was annotated, where the file says them."""
    sides = [image.get(name) for name in ("width", "height")]
    if all(isinstance(side, int | float) and 1 <= side < 1e9 for side in sides):
        return int(sides[0]), int(sides[1])  # type: ignore[arg-type]
    return None


def _person(
    annotation: dict[str, Any], categories: dict[str, _Category], where: str, seen: _Read
) -> Person | SkippedItem:
    if annotation.get("iscrowd"):
        return SkippedItem(where, "a crowd", broken=False)
    category_id = annotation.get("category_id")
    category = categories.get(str(category_id))
    if categories and category is None and category_id is not None:
        kinds = ", ".join(f"{number} {known.name}" for number, known in categories.items())
        raise fail(f"{where} is of a category that is not in the file", got=category_id, expected=kinds[:200])
    if category is not None and not category.person:
        # The many other kinds of COCO itself have no keypoints: these are counted.
        return SkippedItem(where, f"its category is {category.name!r}, not a person", "keypoints" in annotation)
    if category is None and category_id is not None and category_id not in (0, 1):
        return SkippedItem(where, f"its category is {category_id}, not 1, which is a person in COCO")
    if annotation.get("keypoints") is None:
        return SkippedItem(where, "no keypoint is labelled", broken=False)
    points = _points(annotation["keypoints"], f"{where}: keypoints")
    names = None if category is None else category.keypoints
    own_names = layout(len(points), names, where)
    seen.note(names, own_names)
    points = keypoints_by_name(points, own_names)
    feet = annotation.get("foot_kpts")
    if feet is not None and annotation.get("foot_valid", True):
        foot_points = _points(feet, f"{where}: foot_kpts")
        if len(foot_points) != len(FEET):
            raise fail(
                f"{where}: foot_kpts has another length", got=f"{len(foot_points)} keypoints", expected=len(FEET)
            )
        seen.note(None, FEET)
        foot_points = keypoints_by_name(foot_points, FEET)
        points = np.where(foot_points[:, 2:] > points[:, 2:], foot_points, points)
    box = annotation.get("bbox", annotation.get("box"))
    return _with_box(points, box, where)


def _points(values: Any, where: str) -> np.ndarray:
    """Keypoints x, y, confidence in a row → (J,3), zeros where the confidence is; visibility 2 becomes 1."""
    flat = flat_numbers(values, where)
    if not len(flat) or len(flat) % 3:
        raise fail(f"{where} has another length", got=f"{len(flat)} numbers", expected="three a keypoint")
    points = flat.reshape(-1, 3)
    if (points[:, 2] < 0).any():
        raise fail(f"{where} has confidences below 0", got=f"{points[:, 2].min():g}", expected="0 to 1, or 0, 1 and 2")
    points[:, 2] = points[:, 2].clip(max=1)
    return points * (points[:, 2:] > 0)


def _with_box(points: np.ndarray, box: Any, where: str) -> Person | SkippedItem:
    """A person of keypoints (44,3), with the box given as x, y, width, height, else that around the keypoints."""
    if not (points[:, 2] > 0).any():
        return SkippedItem(where, "no keypoint is labelled", broken=False)
    empty = box is None or (isinstance(box, list) and not box)
    x, y, width, height = (0.0,) * 4 if empty else numbers(box, (4,), f"{where}: bbox")
    if width > 0 and height > 0:
        around = box_around(np.array([x + width / 2, y + height / 2]), _MARGIN * np.array([width, height]))
    else:
        sure = points * (points[:, 2:] >= _SURE)
        around = box_of_points(sure if (sure[:, 2] > 0).sum() > 1 else points, _MARGIN)
    return Person(around, keypoints_2d=points, true_3d=False)


def _results(path: Path, items: list[dict[str, Any]], folder: ImageFolder, seen: _Read) -> Iterator[Item]:
    """A list of people, each with the name or COCO's number of its image: AlphaPose's, and COCO's results format."""
    by_image: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, item in enumerate(items):
        name = item.get("image_id", item.get("file_name"))
        if isinstance(name, int) and not isinstance(name, bool) and name >= 0:
            name = f"{name:012d}.jpg"
        if not isinstance(name, str):
            yield SkippedItem(f"{path.name}, item {number}", "has no image_id")
            continue
        by_image.setdefault(name, []).append((number, item))
    for name, detections in by_image.items():
        people = []
        for number, item in detections:
            where = f"{name}, item {number}"
            try:
                person = _person(item, {}, where, seen)
            except UserError as error:
                person = SkippedItem(where, str(error))
            if isinstance(person, SkippedItem):
                yield person
            else:
                people.append(person)
        yield ImageRecord(name, folder.find(name), tuple(people))


def _openpose(path: Path, people_json: list[dict[str, Any]], folder: ImageFolder, seen: _Read) -> Iterator[Item]:
    """The people of one image, which is named like the file: ``a_keypoints.json`` belongs to ``a.jpg``."""
    stem = path.stem.removesuffix("_keypoints")
    people, left_out = _openpose_people(people_json, path.name, seen)
    yield from left_out
    image = folder.find_stem(stem)
    if image is None:
        yield SkippedItem(path.name, f"No image at {folder.root / stem}.jpg, or with another ending")
    else:
        yield ImageRecord(image.name, image, tuple(people))


def _by_image(items: list[dict[str, Any]], folder: ImageFolder, seen: _Read) -> Iterator[Item]:
    """Yield the people of many images, whose ``name`` is in each item."""
    for item in items:
        people, left_out = _openpose_people(item["people"], item["name"], seen)
        yield from left_out
        yield ImageRecord(item["name"], folder.find(item["name"]), tuple(people))


def _openpose_people(people_json: list[dict[str, Any]], of: str, seen: _Read) -> tuple[list[Person], list[SkippedItem]]:
    people, left_out = [], []
    for number, person_json in enumerate(people_json):
        where = f"{of}, person {number}"
        try:
            person = _openpose_person(person_json, where, seen)
        except UserError as error:
            person = SkippedItem(where, str(error))
        if isinstance(person, SkippedItem):
            left_out.append(person)
        else:
            people.append(person)
    return people, left_out


def _openpose_person(person_json: dict[str, Any], where: str, seen: _Read) -> Person | SkippedItem:
    names = ("pose_keypoints_2d", "pose_keypoints", "joints")
    values = next((person_json[name] for name in names if name in person_json), None)
    if values is None:
        raise fail(f"{where} has no pose_keypoints_2d", got=_keys(person_json))
    points = _points(values, f"{where}: pose_keypoints_2d")
    if len(points) not in _OPENPOSE:
        raise fail(f"{where} is of another model of OpenPose", got=f"{len(points)} keypoints", expected="25, or 18")
    spread = np.abs(points[points[:, 2] > 0, :2])
    if len(spread) and spread.max() <= 1:
        raise fail(
            f"{where} is not in pixels",
            got="coordinates of 1 at most",
            next_step="Run OpenPose with --keypoint_scale 0",
        )
    seen.note(None, _OPENPOSE[len(points)])
    return _with_box(keypoints_by_name(points, _OPENPOSE[len(points)]), None, where)
