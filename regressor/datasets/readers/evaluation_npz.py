"""Evaluation npz of HMR2.0 and TokenHMR: ``3dpw_test.npz``, ``emdb.npz`` and the like; images lie elsewhere.

Boxes are those of the file, widths of squares or widths and heights: in pixels or in 200 of them, which ``auto`` tells
apart by their median (no box of a person is 4000 pixels wide, and none 20).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.npz import read_npz

from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask, SkippedItem, file_key, listed_tasks
from .fields import box_around, flag, gender_of, numbers, text

UNITS = {"pixels": 1.0, "pixels/200": 200.0}
_LARGEST_IN_200 = 20.0
_KEYPOINTS_2D = ("body_keypoints_2d", "keypoints_2d")
_KEYS = (
    "imgname",
    "center",
    "scale",
    "body_pose",
    "has_body_pose",
    "betas",
    "has_betas",
    "extra_keypoints_3d",
    "extra_keypoints_2d",
    "gender",
    *_KEYPOINTS_2D,
)


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read npz files with ``imgname``, ``center`` (N,2), ``scale`` (N,) or (N,2), ``body_pose`` (N,72), ….

    Raises ``UserError`` for a file that is damaged, incomplete, or whose arrays do not fit each other. Single rows that
    are not finite are left out and listed.
    """
    files = [(path, file_key(path), _arrays(path)) for path in sources]
    units = [_unit(arrays["scale"], options.scale_unit) for _, _, arrays in files]
    # The unit decides the boxes, so that it is part of what a shard was made of.
    parts: list[ReadTask] = []
    for (path, key, arrays), unit in zip(files, units, strict=True):
        photos = _photos(path, arrays, UNITS[unit], options.images or path.parent)
        parts += listed_tasks(f"{key} {unit} {options.images}", options.split, photos, options.people)
    names = ", ".join(f"{path.name}: {unit}" for (path, _, _), unit in zip(files, units, strict=True))
    return Reading(parts, {"boxes": "those of the file, square by their longer side", "scale_unit": names})


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path, "evaluation npz", _KEYS)
    missing = [name for name in ("imgname", "center", "scale") if name not in arrays]
    if missing:
        raise fail(f"{path} is no evaluation npz", got=f"no {', '.join(missing)}", expected="imgname, center and scale")
    count = arrays["imgname"].size
    if not count or arrays["imgname"].ndim != 1:
        raise fail(f"{path} names no images", got=f"imgname of shape {arrays['imgname'].shape}", expected="(N,)")
    if arrays["scale"].ndim == 1:
        arrays["scale"] = arrays["scale"][:, None]
    if arrays["scale"].dtype.kind not in "fiu":
        raise fail(f"{path}: scale holds no numbers", got=arrays["scale"].dtype)
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {
        "center": ((2,),),
        "scale": ((1,), (2,)),
        "body_pose": ((72,),),
        "betas": ((10,),),
        "gender": ((),),
        "has_body_pose": ((), (1,)),
        "has_betas": ((), (1,)),
        "body_keypoints_2d": ((25, 3),),
        "extra_keypoints_2d": ((19, 3),),
        "extra_keypoints_3d": ((19, 4),),
        # 24: joints of SMPL, which are taken from the pose.
        "keypoints_2d": ((25, 3), (44, 3), (24, 3)),
    }
    for name, fitting in shapes.items():
        if name in arrays and arrays[name].shape not in [(count, *shape) for shape in fitting]:
            raise fail(
                f"{path}: {name} does not fit {count} images",
                got=arrays[name].shape,
                expected=" or ".join(str((count, *shape)) for shape in fitting),
            )
    return arrays


def _unit(scale: np.ndarray, unit: str) -> str:
    if unit != "auto":
        return unit
    known = scale[np.isfinite(scale)]
    return "pixels/200" if len(known) and np.median(known) < _LARGEST_IN_200 else "pixels"


def _photos(path: Path, arrays: dict[str, np.ndarray], unit: float, images: Path) -> Iterator[Item]:
    """In the order of the rows; people of one image that follow each other become one photograph."""
    photo: ImageRecord | None = None
    for row in range(len(arrays["imgname"])):
        name = text(arrays["imgname"][row])
        where = f"{path.name}, row {row} ({name})"
        try:
            person = _person({key: values[row] for key, values in arrays.items()}, unit, where)
        except UserError as error:
            yield SkippedItem(where, str(error))
            continue
        if photo is not None and photo.name == name:
            photo = replace(photo, people=(*photo.people, person))
            continue
        if photo is not None:
            yield photo
        photo = ImageRecord(name, images / name, (person,), _sequence(name))
    if photo is not None:
        yield photo


def _sequence(name: str) -> str:
    """The video that an image is of: its folder, or the one above where that is only called ``images``."""
    parts = [part for part in Path(name).parts[:-1] if part.lower() not in ("images", "imagefiles", "/", "..", ".")]
    return parts[-1] if parts else ""


def _person(row: dict[str, Any], unit: float, where: str) -> Person:
    def known(name: str) -> bool:
        return name in row and flag(row.get(f"has_{name}", 1), f"{where}: has_{name}")

    pose = numbers(row["body_pose"], (72,), f"{where}: body_pose") if known("body_pose") else None
    points_2d = np.zeros((44, 3))
    for name in _KEYPOINTS_2D:
        if name in row and len(row[name]) != 24:
            points_2d[: len(row[name])] = numbers(row[name], (None, 3), f"{where}: {name}")
    if "extra_keypoints_2d" in row:
        points_2d[25:] = numbers(row["extra_keypoints_2d"], (19, 3), f"{where}: extra_keypoints_2d")
    points_3d = None
    if "extra_keypoints_3d" in row:
        points_3d = np.zeros((44, 4))
        points_3d[25:] = numbers(row["extra_keypoints_3d"], (19, 4), f"{where}: extra_keypoints_3d")
    centre = numbers(row["center"], (2,), f"{where}: center")
    scale = numbers(row["scale"], (None,), f"{where}: scale")
    return Person(
        box_around(centre, scale * unit),
        keypoints_2d=points_2d,
        keypoints_3d=points_3d,
        global_orient=None if pose is None else pose[:3],
        body_pose=None if pose is None else pose[3:],
        betas=numbers(row["betas"], (10,), f"{where}: betas") if known("betas") else None,
        gender=gender_of(row.get("gender", "neutral"), where),
    )
