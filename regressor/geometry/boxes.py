"""Boxes around people as users give them: in the command line, in JSON, in CSV. All x0,y0,x1,y1 in pixels."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizer.engine.errors import UserError, fail
from tokenizer.engine.files.text_files import read_json, read_text

Box = tuple[float, float, float, float]
_FORMS = (
    "JSON: [[x0,y0,x1,y1], …] for one image or with one box an image, or {image name: [[x0,y0,x1,y1], …]}; "
    '[{"image": name, "bbox": [x,y,width,height]}, …], results of AlphaPose; CSV: rows image,x0,y0,x1,y1'
)
_IMAGE_KEYS = ("image", "file_name", "filename", "image_id", "name")
_COLUMNS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
)
"""Columns of a box that the head of a table may name."""


def parse_box(text: str) -> Box:
    """``"x0,y0,x1,y1"`` → four numbers. Raises ``UserError`` for anything else."""
    return _box(text.split(","), "--box")


def read_boxes(path: str | Path, images: Sequence[Path]) -> list[list[Box]]:
    """Boxes of each of ``images`` from a JSON or CSV file, matched by path or file name; [] where it has none for one.

    Raises ``UserError`` for a file of no known form, a box that is none, a list whose length fits neither one image
    nor one box an image, no box for any image, and names that are not among ``images``.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json":
            named: dict[str, list[Box]] | list[Box] = _from_json(read_json(path), path)
        else:
            named = _from_csv(read_text(path), path)
    except (OSError, ValueError, csv.Error) as error:
        raise fail(f"Cannot read boxes from {path}", got=error, expected=_FORMS) from None
    if isinstance(named, list):
        if len(images) == 1:
            named = {images[0].name: named}
        elif len(named) == len(images):
            return [[box] for box in named]
        else:
            raise fail(
                f"{path} does not say which box is of which image",
                got=f"{len(named)} boxes, {len(images)} images",
                expected="one box an image, or boxes by image name",
            )
    known = {_plain_name(name): boxes for name, boxes in named.items()}
    per_image = []
    for image in images:
        names = (_plain_name(str(image)), _plain_name(image.name))
        match = next((name for name in names if name in known), None)
        match = match or next((name for name in known if name.rpartition("/")[2] == names[1]), None)
        per_image.append(known[match] if match is not None else [])
    if not any(per_image):
        listed = ", ".join(name for name in list(named)[:5] if named[name])
        raise fail(
            f"{path} has no box for {images[0]}" + (", nor for the others" if len(images) > 1 else ""),
            got=f"boxes for {listed or 'nothing'}",
            next_step="Name images by path or file name",
        )
    image_names = {_plain_name(image.name) for image in images}
    unused = [name for name in named if _plain_name(name).rpartition("/")[2] not in image_names]
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


def _plain_name(name: str) -> str:
    """A path with / between, also where Windows wrote it, and one form of each letter: macOS takes umlauts apart."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _from_json(value: Any, path: Path) -> dict[str, list[Box]] | list[Box]:
    if isinstance(value, dict):
        if "people" in value or "annotations" in value:
            raise fail(
                f"{path} holds annotation of OpenPose or COCO, no list of boxes",
                got=f"keys {', '.join(value)}"[:120],
                expected=_FORMS,
            )
        return {str(name): _boxes(boxes, f"{path}, {name}") if boxes != [] else [] for name, boxes in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return _named_boxes(value, path)
    return _boxes(value, str(path))


def _named_boxes(items: list[dict[str, Any]], path: Path) -> dict[str, list[Box]]:
    """One object a box, as detectors write them: the name of its image, and COCO's ``bbox`` (x, y, width, height), or
    ``box`` with corners; AlphaPose's ``box``, together with ``keypoints``, is x, y, width, height, too."""
    named: dict[str, list[Box]] = {}
    for number, item in enumerate(items):
        where = f"{path}, item {number}"
        name = next((item[key] for key in _IMAGE_KEYS if isinstance(item.get(key), str)), None)
        if name is None or not ("bbox" in item or "box" in item):
            raise fail(f"{where} names no image, or no box", got=f"keys {', '.join(item)}"[:120], expected=_FORMS)
        box = _box(item["bbox" if "bbox" in item else "box"], where)
        if "bbox" in item or "keypoints" in item:
            box = _from_size(box)
        named.setdefault(name, []).append(box)
    return named


def _boxes(value: Any, where: str) -> list[Box]:
    if isinstance(value, list) and len(value) == 4 and not any(isinstance(item, list) for item in value):
        value = [value]
    if not isinstance(value, list) or not value:
        raise fail(f"No list of boxes in {where}", got=repr(value)[:60], expected=_FORMS)
    return [_box(item, where) for item in value]


def _from_csv(text: str, path: Path) -> dict[str, list[Box]]:
    """Rows of a table as any spreadsheet saves it: commas, semicolons (then decimal commas, too) or tabs between."""
    lines = text.splitlines()
    if lines and lines[0].lower().startswith("sep="):
        lines[0] = ""
    filled = next((line for line in lines if line.strip()), "")
    delimiter = next((sign for sign in (";", "\t") if sign in filled), ",")
    named: dict[str, list[Box]] = {}
    head: list[str] | None = None
    for number, cells in enumerate(csv.reader(lines, delimiter=delimiter), 1):
        row = [cell.strip() for cell in cells]
        while row and not row[-1]:
            row.pop()
        if not row:
            continue
        where = f"{path}, line {number}"
        values = [cell.replace(",", ".") for cell in row[1:]] if delimiter != "," else row[1:]
        if head is None:
            head = [] if len(row) < 2 or any(map(_is_number, values)) else _head(row, where)
            if head:
                continue
        if head:
            cell_of = dict(zip(head, [row[0], *values]))
            name, box = cell_of.get("image", ""), _cells_box(cell_of, where)
        else:
            name, box = row[0], _box(values, where)
        named.setdefault(name, []).append(box)
    return named


def _head(row: list[str], where: str) -> list[str]:
    """The names of columns, in any order. Raises ``UserError`` where the image or a box is not among them."""
    head = [cell.lower() for cell in row]
    head = ["image" if name in _IMAGE_KEYS else name for name in head]
    if head[0] != "image" or not any(set(names) <= set(head) for names in _COLUMNS):
        raise fail(f"{where} names no columns of boxes", got=", ".join(row), expected="image,x0,y0,x1,y1")
    return head


def _cells_box(cell_of: dict[str, str], where: str) -> Box:
    names = max(_COLUMNS, key=lambda names: len(cell_of.keys() & set(names)))
    box = _box([cell_of.get(name, "") for name in names], where)
    return _from_size(box) if names[2] in ("w", "width") else box


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_size(box: Box) -> Box:
    """Corner, width and height → two corners."""
    x, y, width, height = box
    return x, y, x + width, y + height


def _box(values: Any, where: str) -> Box:
    got = ",".join(map(str, values)) if isinstance(values, (list, tuple)) else repr(values)
    problem: UserError = fail(f"A box in {where} is no box", got=got or "nothing", expected="four numbers x0,y0,x1,y1")
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
