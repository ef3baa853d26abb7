"""Predicted people as files other tools open: npz of plain arrays, OBJ meshes, PNG pictures."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tokenizer.engine.errors import fail
from tokenizer.engine.files.atomic import write_bytes_atomically
from tokenizer.engine.files.npz import write_npz


def write_person(path: str | Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write ``arrays`` and, under the name ``about``, a JSON text; nothing in the file needs pickle to be read."""
    write_npz(path, {"about": np.array(json.dumps(about)), **arrays})


def write_obj(path: str | Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Write a mesh of vertices (V,3), metres in OpenCV camera axes, and faces (F,3), counted from 0.

    The file has y up and z towards the viewer, as modelling programs expect: y and z change sign.
    """
    flipped = np.asarray(vertices, np.float64) * np.array([1.0, -1.0, -1.0])
    head = "# metres; y up, z towards the camera, which is at the origin\n"
    corners = ("v %.5f %.5f %.5f\n" * len(flipped)) % tuple(flipped.ravel().tolist())
    triangles = np.ascontiguousarray(faces, np.int64).reshape(-1, 3)
    write_bytes_atomically(path, (head + corners).encode() + _face_lines(triangles.tobytes()))


@lru_cache(maxsize=2)
def _face_lines(faces: bytes) -> bytes:
    """Lines of an OBJ for faces (F,3) int64, counted from 0: the same for everybody of one body."""
    numbers = np.frombuffer(faces, np.int64) + 1
    return (("f %d %d %d\n" * (len(numbers) // 3)) % tuple(numbers.tolist())).encode()


def write_image(path: str | Path, image: np.ndarray, *, quality: int = 95) -> None:
    """Write an image (H,W,3) uint8 RGB in the format of the path's suffix, a JPEG in this ``quality``.

    Raises ``UserError`` for an unknown format.
    """
    suffix = Path(path).suffix
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    try:
        done, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done = False
    if not done:
        raise fail(f"Cannot write a picture as {path}", expected="a name ending in .png or .jpg")
    write_bytes_atomically(path, encoded.tobytes())


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file so that ``target`` is at any moment whole: its old content or the new."""
    write_bytes_atomically(target, Path(source).read_bytes())
