"""Boxes around people as users give them: in the command line, in JSON, in CSV. All x0,y0,x1,y1 in pixels."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizer.engine.errors import UserError, fail

Box = tuple[float, float, float, float]
_FORMS = (
    "JSON: [[x0,y0,x1,y1], …] for one image or with one box an image, or {image name: [[x0,y0,x1,y1], …]}; "
    "CSV: rows image,x0,y0,x1,y1"
)


def parse_box(text: str) -> Box:
    """``"x0,y0,x1,y1"`` → four numbers. Raises ``UserError`` for anything else."""
    return _box(text.split(","), f"--box {text}")


def read_boxes(path: str | Path, images: Sequence[Path]) -> list[list[Box]]:
    """Boxes of each of ``images`` from a JSON or CSV file, matched by path or file name.

    Raises ``UserError`` for a file of no known form, a box that is none, a list whose length fits neither one image
    nor one box an image, an image without boxes, and names that are not among ``images``.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        named = _from_json(json.loads(text), path) if path.suffix.lower() == ".json" else _from_csv(text, path)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise fail(f"Cannot read boxes from {path}", got=error, expected=_FORMS) from None
    if isinstance(named, list):
        if len(images) == 1:
            named = {images[0].name: named}
        elif len(named) == len(images):
            return [[box] for box in named]
        else:
            raise fail(f"{path} does not say which box is of which image", got=f"{len(named)} boxes, {len(images)} "
                       "images", expected="one box an image, or boxes by image name")  # fmt: skip
    per_image = []
    for image in images:
        boxes = named.get(str(image), named.get(image.name))
        if not boxes:
            raise fail(f"{path} has no box for {image}", got=f"boxes for {', '.join(list(named)[:5]) or 'nothing'}",
                       next_step="Name images by path or file name")  # fmt: skip
        per_image.append(boxes)
    unused = named.keys() - {str(image) for image in images} - {image.name for image in images}
    if unused:
        raise fail(f"{path} has boxes for images that were not given", got=", ".join(sorted(unused)[:5]))
    return per_image


def check_box(box: Box, width: int, height: int, where: str) -> Box:
    """The same box. Raises ``UserError`` unless it has an area and touches the image of ``width`` × ``height`` px."""
    x0, y0, x1, y1 = box
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):
        raise fail(f"A box for {where} has no area", got=_text(box), expected="x0 < x1 and y0 < y1, in pixels")
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise fail(f"A box for {where} lies outside the image", got=_text(box), expected=f"within 0,0,{width},{height}")
    return box


def _from_json(value: Any, path: Path) -> dict[str, list[Box]] | list[Box]:
    if isinstance(value, dict):
        return {str(name): _boxes(boxes, f"{path}, {name}") for name, boxes in value.items()}
    return _boxes(value, str(path))


def _boxes(value: Any, where: str) -> list[Box]:
    if isinstance(value, list) and len(value) == 4 and not any(isinstance(item, list) for item in value):
        value = [value]
    if not isinstance(value, list) or not value:
        raise fail(f"No list of boxes in {where}", got=repr(value)[:60], expected=_FORMS)
    return [_box(item, where) for item in value]


def _from_csv(text: str, path: Path) -> dict[str, list[Box]]:
    named: dict[str, list[Box]] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row or (number == 1 and row[0].strip().lower() == "image"):
            continue
        named.setdefault(row[0].strip(), []).append(_box(row[1:], f"{path}, line {number}"))
    return named


def _box(values: Any, where: str) -> Box:
    problem: UserError = fail(f"A box in {where} is no box", got=repr(values), expected="four numbers x0,y0,x1,y1")
    if not isinstance(values, (list, tuple)) or len(values) != 4:
        raise problem
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
    except (TypeError, ValueError):
        raise problem from None
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise problem
    return x0, y0, x1, y1


def _text(box: Box) -> str:
    return ",".join(f"{value:g}" for value in box)
