"""BEDLAM: rendered people with true bodies and cameras, as TokenHMR's tars or as label npz with a folder of images.

Black et al., BEDLAM (CVPR 2023). OpenCV axes; boxes in units of 200 pixels, their margin of 1.2 included. Bodies of
SMPL-X (165 numbers a pose) give their 21 body joints; their shape is none of SMPL's and counts as unknown.
``gender`` is not read: it names whom the rendered person looks like, while the labels are those of the neutral body
that its makers fitted to it (https://github.com/pixelite1201/BEDLAM/issues/55).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.npz import read_npz

from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask, SkippedItem, file_key, listed_tasks
from .fields import box_around, field, flat_numbers, keypoints_by_name, numbers, text
from .joint_orders import SMPL45
from .tars import tar_parts

_UNIT = 200.0
_TURNED = "closeup"
"""In the names of scenes whose camera stood on its side: annotated as seen upright."""
_SMPL, _SMPLX = 72, 165
_KEYS = ("imgname", "center", "scale", "pose_cam", "shape", "trans_cam", "cam_int", "cam_ext", "gtkps")


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read tars, a shard each, or npz of labels; or folders of either."""
    labels: list[Path] = []
    tars: list[Path] = []
    for source in sources:
        files = sorted(source.rglob("*.npz")) if source.is_dir() else [source] if source.suffix == ".npz" else []
        labels += files
        if not files:
            tars.append(source)
    parts: list[ReadTask] = []
    if tars:
        parts += tar_parts(tars, options.split, person_of, _TURNED)
    for path in labels:
        key, arrays = file_key(path), _arrays(path)
        images = _folder(options.images or path.parent, path.stem, text(arrays["imgname"][0]))
        parts += listed_tasks(f"{key} {images}", options.split, _photos(path, arrays, images), options.people)
    return Reading(parts, {"boxes": "those of the annotation", "cameras": "annotated"})


def person_of(content: Any, where: str) -> Person:
    """One person as both forms of BEDLAM describe them. Raises ``UserError`` for what is missing or misshapen."""

    def of(name: str, *shape: int | None) -> np.ndarray:
        return numbers(field(content, name, where), shape, f"{where}: {name}")

    pose = flat_numbers(field(content, "pose_cam", where), f"{where}: pose_cam")
    if len(pose) not in (_SMPL, _SMPLX):
        raise fail(f"{where}: pose_cam is of another body", got=f"{len(pose)} numbers", expected="72 or 165")
    smplx = len(pose) == _SMPLX
    body = np.concatenate([pose[3:66], np.zeros(6)]) if smplx else pose[3:]
    points = of("gtkps", None, None)
    if points.shape[0] != len(SMPL45) or points.shape[1] not in (2, 3):
        raise fail(f"{where}: gtkps has another shape", got=points.shape, expected=f"({len(SMPL45)}, 2)")
    points = np.concatenate([points[:, :2], np.ones((len(points), 1))], 1)
    shape = of("shape", None)
    if len(shape) < 10:
        raise fail(f"{where}: shape is too short", got=len(shape), expected="10 or 11 numbers")
    scale = flat_numbers(field(content, "scale", where), f"{where}: scale")
    return Person(
        box_around(of("center", 2), _UNIT * scale[:1]),
        keypoints_2d=keypoints_by_name(points, SMPL45),
        global_orient=pose[:3],
        body_pose=body,
        betas=None if smplx else shape[:10],
        translation=of("trans_cam", 3) + of("cam_ext", 4, 4)[:3, 3],
        K=of("cam_int", 3, 3),
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path, "BEDLAM labels", _KEYS)
    missing = [name for name in _KEYS if name not in arrays]
    if missing:
        raise fail(f"{path} holds no labels of BEDLAM", got=f"no {', '.join(missing)}", expected=", ".join(_KEYS))
    lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise fail(f"{path} has labels of several lengths", got=lengths)
    return arrays


def _folder(images: Path, scene: str, name: str) -> Path:
    """Where the names of a scene's images, ``name`` among them, begin: the folder that the scene was unpacked into, or
    ``images`` itself. Labels and folders are called by the scene, and folders by its frame rate, too."""
    plain = scene.removesuffix("_6fps").removesuffix("_30fps")
    called = dict.fromkeys((scene, plain, f"{plain}_6fps", f"{plain}_30fps"))
    folders = [images / called_name / inner for called_name in called for inner in ("png", "")]
    holding = (folder for folder in (*folders, images) if (folder / name).is_file())
    return next(holding, next((folder for folder in folders if folder.is_dir()), images))


def _photos(path: Path, arrays: dict[str, np.ndarray], images: Path) -> Iterator[Item]:
    """By image, in the order in which they are first named."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(arrays["imgname"]):
        rows.setdefault(text(name), []).append(row)
    for name, chosen in rows.items():
        people = []
        for row in chosen:
            where = f"{path.name}, row {row} ({name})"
            try:
                people.append(person_of({key: values[row] for key, values in arrays.items()}, where))
            except UserError as error:
                yield SkippedItem(where, str(error))
        turned = _TURNED in path.stem or _TURNED in name
        yield ImageRecord(name, images / name, tuple(people), f"{path.stem}/{Path(name).parent.name}", turned)
