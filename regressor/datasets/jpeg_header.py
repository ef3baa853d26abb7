"""What the first bytes of a JPEG say of it, without decoding a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_START = b"\xff\xd8\xff"
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)
"""Tables and extensions, numbered among the start-of-frame markers C0 … CF."""
_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length: temporary, restarts, start of the image."""
_ORIENTATION = 0x112


@dataclass(frozen=True)
class JpegHeader:
    """``width`` and ``height`` in pixels as stored; ``exif``: whether there is EXIF, and its ``orientation``, 1 for
    upright; ``pixels_at``: where in the file the pixels begin."""

    width: int
    height: int
    exif: bool
    orientation: int = 1
    pixels_at: int = 0


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None for other bytes, and for a JPEG that does not come as far as its pixels."""
    if not data.startswith(_START):
        return None
    at, size, exif, orientation = 2, (0, 0), False, 1
    while at >= 0 and at + 4 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)  # decoders pass over what stands between two segments, too
            continue
        kind = data[at + 1]
        if kind == 0xFF:  # padding
            at += 1
            continue
        if kind == 0 or kind in _ALONE:
            at += 2
            continue
        if kind == 0xDA:  # pixels begin
            return JpegHeader(size[1], size[0], exif, orientation, at) if min(size) > 0 else None
        if 0xC0 <= kind <= 0xCF and kind not in _NOT_FRAMES:
            size = (int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big"))
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xE1 and not exif and data.startswith(b"Exif\0\0", at + 4):
            exif, orientation = True, exif_orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    return None


def exif_orientation(data: bytes) -> int:
    """The orientation, 1 … 8, that a block of EXIF (a TIFF header and its first directory) gives; 1 where it gives
    none."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        for number in range(count):
            tag, form, values = struct.unpack_from(order + "HHI", data, at + 2 + 12 * number)
            if tag == _ORIENTATION and form == 3 and values == 1:
                (value,) = struct.unpack_from(order + "H", data, at + 10 + 12 * number)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
