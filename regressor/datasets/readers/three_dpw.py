"""3DPW as released: ``sequenceFiles/{train,validation,test}/SEQUENCE.pkl`` and ``imageFiles``.

von Marcard et al., 3D Poses in the Wild (ECCV 2018). A person counts in the frames whose camera the data set calls
valid and in which it has 2D keypoints. Bodies are in world coordinates; ``cam_poses`` lead from there to the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.safe_pickle import load_pickle

from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask, SkippedItem, file_key, listed_tasks
from .fields import box_of_points, field, gender_of, keypoints_by_name, numbers, shown, text, turned_rotations
from .joint_orders import COCO18, SMPL24

_MARGIN = 1.2
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read sequence files or folders of them (the data set's own, too). Its folders decide the split.

    A sequence that is damaged is left out and listed.
    """
    parts: list[ReadTask] = []
    for path in _files(sources):
        split = _SPLITS.get(path.parent.name, options.split)
        images = options.images or _images(path)
        parts += listed_tasks(f"{file_key(path)} {images}", split, _photos(path, images), options.people)
    about = {
        "boxes": f"around the annotated 2D keypoints × {_MARGIN}, square by their longer side",
        "cameras": "annotated",
        "note": "frames as the data set marks them valid, per person",
    }
    return Reading(parts, about)


def _files(sources: list[Path]) -> list[Path]:
    files: list[Path] = []
    for source in sources:
        files += sorted(source.rglob("*.pkl")) if source.is_dir() else [source]
    if not files:
        raise fail(f"No sequence files in {', '.join(map(str, sources))}", expected="sequenceFiles/test/*.pkl")
    return files


def _images(path: Path) -> Path:
    """The folder ``imageFiles`` of the data set that a sequence file belongs to."""
    above = [folder / "imageFiles" for folder in path.resolve().parents]
    return next((folder for folder in above if folder.is_dir()), path.parent)


def _photos(path: Path, images: Path) -> Iterator[Item]:
    try:
        content = load_pickle(path)
        name = text(field(content, "sequence", str(path))) if "sequence" in content else path.stem
        cameras = numbers(field(content, "cam_poses", str(path)), (None, 4, 4), f"{path}: cam_poses")
        K = numbers(field(content, "cam_intrinsics", str(path)), (3, 3), f"{path}: cam_intrinsics")
        frames = numbers(field(content, "img_frame_ids", str(path)), (len(cameras),), f"{path}: img_frame_ids")
        count = len(field(content, "poses", str(path)))
        tracks = [_track(content, number, cameras, f"{path}, person {number}") for number in range(count)]
    except (UserError, TypeError, ValueError) as error:
        yield SkippedItem(str(path), str(error))
        return
    for row, frame in enumerate(frames.astype(int)):
        people = []
        for number, track in enumerate(tracks):
            where = f"{name}, frame {frame}, person {number}"
            if not track["valid"][row]:
                yield SkippedItem(where, "marked as invalid by 3DPW", broken=False)
                continue
            try:
                people.append(_person(track, row, K))
            except UserError as error:
                yield SkippedItem(where, str(error))
        if people:
            image = f"{name}/image_{frame:05d}.jpg"
            yield ImageRecord(image, images / image, tuple(people), name)


def _track(content: dict[str, Any], number: int, cameras: np.ndarray, where: str) -> dict[str, Any]:
    """One person through the sequence, in camera axes: arrays of as many frames as there are cameras."""
    count = len(cameras)

    def of(name: str, *shape: int | None) -> np.ndarray:
        people = field(content, name, where)
        if number >= len(people):
            raise fail(f"{where} has no {name}", got=f"those of {len(people)} people")
        return numbers(people[number], shape, f"{where}: {name}")

    poses, trans = of("poses", count, 72), of("trans", count, 3)
    joints = of("jointPositions", count, 72).reshape(count, 24, 3)
    points = of("poses2d", count, 3, 18).transpose(0, 2, 1)
    valid = (of("campose_valid", count) > 0) & points.any((1, 2))
    # What an invalid camera holds need not be a rotation.
    turn, shift = np.where(valid[:, None, None], cameras[:, :3, :3], np.eye(3)), cameras[:, :3, 3]
    # Bodies turn about their pelvis at rest, which the file gives: where the pelvis is, less the translation.
    offset = joints[:, 0] - trans
    in_camera = np.einsum("nij,nkj->nki", turn, joints) + shift[:, None]
    betas, genders = of("betas", None), field(content, "genders", where)
    if not isinstance(genders, list | tuple | np.ndarray) or number >= len(genders):
        raise fail(f"{where} has no gender", got=shown(genders))
    if len(betas) < 10:
        raise fail(f"{where} has too few betas", got=len(betas), expected="10 or more")
    return {
        "global_orient": turned_rotations(turn, poses[:, :3]),
        "body_pose": poses[:, 3:],
        "betas": betas[:10],
        "translation": in_camera[:, 0] - offset,
        "joints": in_camera,
        "points": points,
        "valid": valid,
        "gender": gender_of(genders[number], where),
    }


def _person(track: dict[str, Any], row: int, K: np.ndarray) -> Person:
    joints = np.concatenate([track["joints"][row], np.ones((24, 1))], 1)
    points = track["points"][row]
    return Person(
        box_of_points(points, _MARGIN),
        keypoints_2d=keypoints_by_name(points, COCO18),
        keypoints_3d=keypoints_by_name(joints, SMPL24),
        global_orient=track["global_orient"][row],
        body_pose=track["body_pose"][row],
        betas=track["betas"],
        translation=track["translation"][row],
        K=K,
        gender=track["gender"],
    )
