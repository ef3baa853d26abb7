"""Readers of tars and raw data sets, on files made here to the layouts of the real ones."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from image_data_sets import (
    bedlam_person,
    fitted_person,
    jpeg,
    sequence_of_3dpw,
    write_3dpw,
    write_emdb,
    write_tar,
)

from regressor.datasets.annotation import ReadOptions
from regressor.datasets.prepare import StoreOptions, prepare_shards
from tokenizer.engine.errors import UserError

WRONG = (
    None,
    "x",
    b"x",
    [],
    {},
    np.nan,
    1e30,
    10**400,
    [1, [2]],
    ["x"] * 4,
    np.zeros(0),
    np.zeros((3, 3, 3)),
    np.array("x"),
    np.array([None]),
    np.full((2, 2), np.nan),
    np.zeros(4, complex),
    "absent",
)


def places(content, before=()):
    """The place of everything in nested dictionaries and lists, as keys from the outside in."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*before, key)
        if not isinstance(content, list) or not isinstance(value, float | int):
            yield from places(value, (*before, key))


def changed(content, place, value):
    content = copy.deepcopy(content)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    if isinstance(value, str) and value == "absent":
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return content


def tar_of(content, folder):
    write_tar(folder / "a.tar", [("a.jpg", jpeg(40, 30)), ("a.data.pyd", pickle.dumps(content))])
    return folder / "a.tar"


def threedpw_of(content, folder):
    path = folder / "3DPW" / "sequenceFiles" / "test" / "walk_00.pkl"
    if not path.exists():
        write_3dpw(folder / "3DPW", content, frames=2)
    path.write_bytes(pickle.dumps(content))
    return path


def emdb_of(content, folder):
    path = folder / "EMDB" / "P1" / "walk" / "P1_walk_data.pkl"
    if not path.exists():
        write_emdb(folder / "EMDB", frames=2)
    path.write_bytes(pickle.dumps(content))
    return path


def npz_of(content, folder):
    (folder / "a.jpg").write_bytes(jpeg(40, 30))
    np.savez(folder / "a.npz", **content)
    return folder / "a.npz"


def coco_of(content, folder):
    (folder / "a.jpg").write_bytes(jpeg(40, 30))
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def evaluation_arrays():
    return {
        "imgname": np.array(["a.jpg"]),
        "center": np.full((1, 2), 15.0),
        "scale": np.full(1, 30.0),
        "body_pose": np.zeros((1, 72)),
        "has_body_pose": np.ones(1),
        "betas": np.zeros((1, 10)),
        "has_betas": np.ones(1),
        "body_keypoints_2d": np.ones((1, 25, 3)),
        "extra_keypoints_3d": np.ones((1, 19, 4)),
        "gender": np.array(["f"]),
    }


def coco_content():
    person = {"id": 1, "image_id": 1, "keypoints": [15.0, 15, 2] * 17, "bbox": [5, 5, 20, 20], "iscrowd": 0}
    return {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [person]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["4dhumans", "bedlam", "bedlam-npz", "3dpw", "emdb", "evaluation-npz", "coco"])
def test_anything_in_any_place_is_a_message_or_a_skip(form, tmp_path, open_body):
    body = bedlam_person(open_body, 40, 30)
    content, write = {
        "4dhumans": lambda: ([fitted_person(center=np.array([15.0, 15]))], tar_of),
        "bedlam": lambda: ([body], tar_of),
        "bedlam-npz": lambda: ({"imgname": np.array(["a.jpg"]), **{k: np.array([v]) for k, v in body.items()}}, npz_of),
        "3dpw": lambda: (sequence_of_3dpw(2)[0], threedpw_of),
        "emdb": lambda: (write_emdb(tmp_path / "EMDB", frames=2), emdb_of),
        "evaluation-npz": lambda: (evaluation_arrays(), npz_of),
        "coco": lambda: (coco_content(), coco_of),
    }[form]()
    reader, storing = form.removesuffix("-npz") if form == "bedlam-npz" else form, StoreOptions(pixels=16)
    source = write(content, tmp_path)
    assert not prepare_shards(reader, [source], tmp_path / "whole", ReadOptions(), storing, workers=1).broken
    told = 0
    for number, (place, value) in enumerate((place, value) for place in places(content) for value in WRONG):
        try:
            source = write(changed(content, place, value), tmp_path)
        except (TypeError, ValueError, OverflowError):
            continue  # what this form of file cannot hold
        try:
            report = prepare_shards(reader, [source], tmp_path / str(number), ReadOptions(), storing, workers=1)
            told += bool(report.broken)
        except UserError as error:
            told += 1
            assert "\n" not in str(error)
    assert told > 30
