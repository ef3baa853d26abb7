"""COCO's JSON of a few drawn people, and what the reader makes of it."""

from __future__ import annotations

import json
import struct

import cv2
import numpy as np

from regressor.datasets.annotation import ImageRecord, ReadOptions, SkippedItem
from regressor.datasets.readers import reader
from regressor.datasets.readers.joint_orders import COCO17
from tokenizer.body.skeleton import KEYPOINT_NAMES

WIDTH, HEIGHT = 120, 160


def place(name):
    """Where in the picture a keypoint is: another place for every name."""
    number = KEYPOINT_NAMES.index(name) if name in KEYPOINT_NAMES else 44
    return 20.0 + 1.5 * number, 30.0 + 2 * number


def flat(names, third=2):
    return [value for name in names for value in (*place(name), third)]


def person(names=COCO17, *, third=2, **changes):
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": flat(names, third), "bbox": [10, 20, 80, 120]}
    return {name: value for name, value in {**annotation, **changes}.items() if value is not ...}


def coco(folder, people, categories=None, images=None, name="ann.json"):
    write_jpeg(folder / "a.jpg")
    images = images or [{"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT}]
    content = {"images": images, "annotations": people}
    if categories is not None:
        content["categories"] = categories
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def write_jpeg(path, *, turned=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 200, np.uint8))[1].tobytes()
    if turned:
        tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, 6, 0, 0)
        block = b"Exif\0\0" + tiff
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    path.write_bytes(data)


def read(source, images=None):
    """(people by name of keypoint → (x, y, confidence), their boxes, what was left out)."""
    items = [item for part in reader("coco")([source], ReadOptions(images)).parts for item in part.photos()]
    people = [one for item in items if isinstance(item, ImageRecord) for one in item.people]
    points = [
        {name: tuple(map(float, row)) for name, row in zip(KEYPOINT_NAMES, one.keypoints_2d) if row[2]}
        for one in people
    ]
    return points, [one.box.tolist() for one in people], [item for item in items if isinstance(item, SkippedItem)]
