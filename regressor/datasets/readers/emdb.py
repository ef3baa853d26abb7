"""EMDB as released: ``P*/SEQUENCE/P*_SEQUENCE_data.pkl`` with ``images/%05d.jpg`` in the same folder.

Kaufmann et al., EMDB (ICCV 2023). Only frames that the data set calls good count. Where the body stands, and its
keypoints, are not kept: that needs the licensed body model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.safe_pickle import load_pickle

from ..annotation import ImageRecord, Item, Person, Reading, ReadOptions, ReadTask, SkippedItem, file_key, listed_tasks
from .fields import box_around, field, flag, gender_of, numbers, text, turned_rotations

_MARGIN = 1.2
_ENDING = "_data.pkl"


def read(sources: list[Path], options: ReadOptions) -> Reading:
    """Read the folder of the data set, or some of its folders or files; ``options.subset`` of its sequences.

    A sequence that is damaged is left out and listed.
    """
    files: list[Path] = []
    for source in sources:
        files += sorted(source.rglob(f"*{_ENDING}")) if source.is_dir() else [source]
    if not files:
        raise fail(f"No sequences in {', '.join(map(str, sources))}", expected=f"files P*/*/*{_ENDING}")
    parts: list[ReadTask] = []
    for path in files:
        key = f"{file_key(path)} {options.subset}"
        parts += listed_tasks(key, options.split, _photos(path, options.subset), options.people)
    about = {
        "boxes": f"those of EMDB × {_MARGIN}, square by their longer side",
        "cameras": "annotated",
        "note": f"{options.subset}: frames that EMDB marks as good",
    }
    return Reading(parts, about)


def _photos(path: Path, subset: str) -> Iterator[Item]:
    where = str(path)
    try:
        content = load_pickle(path)
        if subset != "all" and not flag(field(content, subset, where), f"{where}: {subset}"):
            yield SkippedItem(where, f"a sequence that is not of {subset}", broken=False)
            return
        name = text(field(content, "name", where))
        camera, smpl, boxes = (field(content, group, where) for group in ("camera", "smpl", "bboxes"))
        turn = numbers(field(camera, "extrinsics", where), (None, 4, 4), f"{where}: extrinsics")[:, :3, :3]
        count = len(turn)
        K = numbers(field(camera, "intrinsics", where), (3, 3), f"{where}: intrinsics")
        good = np.array(field(content, "good_frames_mask", where)).astype(bool).reshape(-1)
        bodies = numbers(field(smpl, "poses_body", where), (count, 69), f"{where}: poses_body")
        roots = numbers(field(smpl, "poses_root", where), (count, 3), f"{where}: poses_root")
        betas = numbers(np.reshape(field(smpl, "betas", where), -1), (10,), f"{where}: betas")
        corners = np.array(field(boxes, "bboxes", where), dtype=np.float64)
        invalid = np.array(field(boxes, "invalid_idxs", where), dtype=int).reshape(-1)
        gender = gender_of(field(content, "gender", where), where)
        if len(good) != count or corners.shape != (count, 4):
            raise fail(
                f"{where} has parts of several lengths",
                got=f"{count} cameras, {len(good)} marks, boxes {corners.shape}",
            )
        good[invalid[(invalid >= 0) & (invalid < count)]] = False
        # What the camera of a bad frame holds need not be a rotation.
        in_camera = turned_rotations(np.where(good[:, None, None], turn, np.eye(3)), roots)
    except (UserError, TypeError, ValueError, OverflowError) as error:
        yield SkippedItem(where, str(error))
        return
    for frame in range(count):
        image = f"{frame:05d}.jpg"
        if not good[frame]:
            yield SkippedItem(f"{name}/{image}", "marked as invalid by EMDB", broken=False)
            continue
        box = corners[frame]
        person = Person(
            box_around((box[:2] + box[2:]) / 2, _MARGIN * (box[2:] - box[:2])),
            global_orient=in_camera[frame],
            body_pose=bodies[frame],
            betas=betas,
            K=K,
            gender=gender,
        )
        yield ImageRecord(f"{name}/{image}", path.parent / "images" / image, (person,), name)
