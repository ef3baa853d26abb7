"""The one reader of image files, for every command: a photograph's pixels, or the true reason why not.

1. The first bytes give kind and size of the picture; what is no picture, or too large, is refused.
2. OpenCV decodes it, turned as EXIF says; HEIC and AVIF go through Pillow (extra ``people``).
3. Report an incomplete file as such.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from tokenizer.engine.errors import UserError, fail

from .image_header import READ_FIRST, ImageHeader, image_header, jpeg_header, kind_of

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".bmp",
    ".heic",
    ".heif",
    ".hif",
    ".avif",
    ".ppm",
    ".pgm",
    ".jp2",
)
_MOST_BYTES = 1 << 30
"""No photograph of the pixels allowed is larger, not even raw with 16 bits a colour."""
_BEHIND = 255
"""Grey behind what is transparent: white, as it is mostly shown."""
_ROWS = 64


def read_image(path: str | Path) -> np.ndarray:
    """An image file, turned as its EXIF says → (H,W,3) uint8 RGB.

    16 bits become 8, grey becomes three channels, white stands behind what is transparent, and of a moving picture the
    first is taken.
    Raises ``UserError`` with the true reason for any other file.
    """
    return decode_image(image_bytes(path), str(path))


def read_header(path: str | Path) -> ImageHeader:
    """Return ``image_header`` of a file of which only the beginning is read, where that suffices."""
    path = _existing(path)
    with path.open("rb") as file:
        data = file.read(READ_FIRST)
        if kind_of(data) in ("JPEG", "TIFF") and path.stat().st_size <= _MOST_BYTES:
            data += file.read()  # EXIF, colour profiles and previews may come first; a TIFF's directory comes last
    return image_header(data, str(path))


def image_bytes(path: str | Path) -> bytes:
    """The bytes of an image file. Raises ``UserError`` for any other, of which only the first bytes are read."""
    path = _existing(path)
    with path.open("rb") as file:
        data = file.read(READ_FIRST)
        size = path.stat().st_size
        if kind_of(data) is None or size > _MOST_BYTES:
            image_header(data, str(path))
            raise fail(f"{path} is too large", got=f"{size:,} bytes", expected=f"{_MOST_BYTES:,} at most")
        return data + file.read()


def decode_image(data: bytes, name: str) -> np.ndarray:
    """``read_image`` of bytes that were read already; ``name`` is what messages call them."""
    header = image_header(data, name)
    if header.kind == "HEIC" or (header.kind == "AVIF" and find_spec("PIL")):
        return _through_pillow(data, name, header)
    if header.kind == "PNG" and b"IEND" not in data[-64:]:
        raise _damaged(data, name, header)  # libpng would write to the terminal, too
    seen_through = header.alpha and header.orientation == 1  # otherwise OpenCV would not turn it
    try:
        with _quiet():
            flags = cv2.IMREAD_UNCHANGED if seen_through else cv2.IMREAD_COLOR
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise _damaged(data, name, header)
    if seen_through:
        image = _opaque(image)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _opaque(image: np.ndarray) -> np.ndarray:
    """What OpenCV leaves unchanged, (H,W) or (H,W,C) of 8 or 16 bits → (H,W,3) uint8."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 2:
        image = np.dstack([image[..., :1]] * 3 + [image[..., 1:]])
    if image.shape[2] == 4:
        for row in range(0, len(image), _ROWS):  # little at a time: in floats the whole would be many times as large
            part = image[row : row + _ROWS]
            share = part[..., 3:].astype(np.float32) / 255
            part[..., :3] = (part[..., :3] * share + _BEHIND * (1 - share)).round()
    return np.ascontiguousarray(image[..., :3])


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise fail(f"{path} is a folder", expected="an image")
    if not path.is_file():
        raise fail(f"No image at {path}", next_step="Check the path")
    return path


def _through_pillow(data: bytes, name: str, header: ImageHeader) -> np.ndarray:
    from PIL import Image, ImageOps

    if header.kind == "HEIC":
        importlib.import_module("pillow_heif").register_heif_opener()
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged(data, name, header) from error


def _damaged(data: bytes, name: str, header: ImageHeader) -> UserError:
    short = {
        "JPEG": lambda: data.find(b"\xff\xd9", _pixels_at(data)) < 0,
        "PNG": lambda: b"IEND" not in data[-64:],
        "WebP": lambda: int.from_bytes(data[4:8], "little") + 8 > len(data),
    }.get(header.kind, lambda: False)()
    how = "cut short: its end is missing" if short else "damaged"
    got = f"a {header.kind} of {header.width} × {header.height} pixels that is {how}"
    return fail(f"{name} cannot be read", got=got, next_step="Copy or save it again")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence OpenCV within: errors become one message of ours."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


def _pixels_at(jpeg: bytes) -> int:
    header = jpeg_header(jpeg)
    return 0 if header is None else header.pixels_at
