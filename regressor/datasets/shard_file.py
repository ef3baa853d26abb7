"""One shard: JPEG crops of people, wider than their boxes, with their annotation as arrays, in one HDF5 file.

Points and boxes are in pixels of the whole photograph, rotations axis-angle; ``stored`` is the rectangle of the
photograph that the JPEG shows, shrunk or not; ``extent`` the width and height of the annotated box, of which ``box``
is the square.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.hdf5 import plain_datasets
from tokenizer.engine.files.hdf5_writing import writing

FORMAT = "pose-token-hmr/shard"
FORMAT_VERSION = 1
REMEDY = "Run the same `pose-regressor prepare` again; it makes what is missing"
COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "keypoints_2d": (np.float32, (44, 3)),
    "keypoints_3d": (np.float32, (44, 4)),
    "global_orient": (np.float32, (3,)),
    "body_pose": (np.float32, (23, 3)),
    "betas": (np.float32, (10,)),
    "translation": (np.float32, (3,)),
    "has_global_orient": (np.bool_, ()),
    "has_body_pose": (np.bool_, ()),
    "has_betas": (np.bool_, ()),
    "true_3d": (np.bool_, ()),
    "gender": (np.uint8, ()),
    "box": (np.float32, (4,)),
    "stored": (np.float32, (4,)),
    "image_size": (np.float32, (2,)),
    "K": (np.float32, (3, 3)),
    "extent": (np.float32, (2,)),
}
_BLOCK = 1 << 22
LATER = ("extent",)
"""Columns that shards of earlier versions do not have; zeros replace them."""
Row = dict[str, Any]
"""One person: a value for each of ``COLUMNS``, and ``jpeg`` (bytes), ``name`` and ``sequence`` (text)."""


def write_shard(path: Path, rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write the rows whole or not at all, and JSON ``about`` them; returns their digest.

    Raises ``UserError`` when the disk refuses.
    """
    columns: dict[str, np.ndarray] = {
        name: np.array([row[name] for row in rows], dtype=kind).reshape(len(rows), *shape)
        for name, (kind, shape) in COLUMNS.items()
    }
    columns["jpeg"] = np.frombuffer(b"".join(row["jpeg"] for row in rows), np.uint8)
    columns["jpeg_end"] = np.cumsum([len(row["jpeg"]) for row in rows], dtype=np.int64)
    columns["name"] = np.array([row["name"].encode() for row in rows], dtype=np.bytes_)
    digest = hashlib.sha256()
    with writing(path, FORMAT, FORMAT_VERSION) as file:
        for name in sorted(columns):
            values = columns[name]
            chunk = (min(len(values), 1 << 16 if name == "jpeg" else 64), *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunk, fletcher32=True)
            digest.update(name.encode() + values.tobytes())
            file.check()
        # Not an attribute of HDF5: those hold 64 KiB.
        file.create_dataset("about", data=np.frombuffer(json.dumps(about).encode(), np.uint8))
        file.attrs["digest"] = digest.hexdigest()
    return digest.hexdigest()


def content_digest(datasets: Mapping[str, h5py.Dataset]) -> str:
    """The digest that ``write_shard`` gave, of what the data sets hold now, read in blocks of a few megabytes."""
    digest = hashlib.sha256()
    for name in sorted(datasets.keys() - {"about"}):
        data = datasets[name]
        digest.update(name.encode())
        rows = max(1, _BLOCK * len(data) // max(1, data.nbytes))
        for first in range(0, len(data), rows):
            digest.update(data[first : first + rows].tobytes())
    return digest.hexdigest()


def about_shard(path: Path) -> dict[str, Any] | None:
    """What was written about a shard that is whole, and its ``digest``; None for any other file, or none."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("format_version") != FORMAT_VERSION:
                return None
            about: dict[str, Any] = json.loads(plain_datasets(file)["about"][:].tobytes())
            return {**about, "digest": str(file.attrs["digest"])}
    except (OSError, KeyError, ValueError, UserError):
        return None


def encode_person(image: np.ndarray, box: np.ndarray, *, margin: float, pixels: int, quality: int) -> Row:
    """``jpeg`` and ``stored`` of a square box (4,) in an image (H,W,3) uint8 RGB.

    Stored is what the image has of the box ``margin`` times as large, in whole pixels, and shrunk, by area averages, to
    ``pixels`` to the side of the box where it is larger; never enlarged.
    """
    height, width = image.shape[:2]
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * margin
    low = np.clip(np.floor(centre - half), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(centre + half), low + 1, [width, height]).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, pixels / float(box[2] - box[0]))
    if scale < 1:
        size = np.maximum(1, np.round(scale * (high - low))).astype(int)
        part = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise fail("A crop cannot be stored as JPEG", got=f"{part.shape[1]} × {part.shape[0]} px")
    return {"jpeg": data.tobytes(), "stored": np.concatenate([low, high])}


def runs(names: Sequence[str]) -> list[tuple[str, int]]:
    """Names in order → (name, how many in a row)."""
    counted: list[tuple[str, int]] = []
    for name in names:
        if counted and counted[-1][0] == name:
            counted[-1] = (name, counted[-1][1] + 1)
        else:
            counted.append((name, 1))
    return counted


def person_columns(values: Mapping[str, np.ndarray | None]) -> Row:
    """``has_*`` of what is known, zeros in place of what is not."""
    row: Row = {}
    for name, value in values.items():
        row[name] = np.zeros(COLUMNS[name][1]) if value is None else np.asarray(value).reshape(COLUMNS[name][1])
        if f"has_{name}" in COLUMNS:
            row[f"has_{name}"] = value is not None
    return row
