"""What EXIF says of a photograph: how the camera was held, and through which lens it looked.

A block of EXIF is a TIFF header with directories of tags; nothing in it is trusted: what does not fit is not there.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_ORIENTATION, _MORE = 0x0112, 0x8769
_FOCAL_35MM, _WIDTH, _HEIGHT = 0xA405, 0xA002, 0xA003
_FORMS = {3: "H", 4: "I"}
_MOST_TAGS = 4096
_FOCAL_RANGE_MM = (3, 3000)
_SIGN = re.compile(rb"Exif\0\0(?=II\*\0|MM\0\*)")


@dataclass(frozen=True)
class Lens:
    """``focal_35mm``: focal length in mm of the lens with the same view on a frame of 36 × 24 mm; ``size``: width and
    height in pixels of the picture as the camera wrote it, None where EXIF does not say."""

    focal_35mm: int
    size: tuple[int, int] | None = None


def exif_block(data: bytes) -> bytes:
    """The block of EXIF in the bytes of a JPEG, PNG, WebP, TIFF, HEIC or AVIF; empty where there is none."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    if data.startswith(b"\x89PNG"):
        at = data.find(b"eXIf")
        return b"" if at < 0 else data[at + 4 :]
    if data[8:12] == b"WEBP":
        at = data.find(b"EXIF")
        return b"" if at < 0 else data[at + 8 :].removeprefix(b"Exif\0\0")
    sign = _SIGN.search(data)
    return b"" if sign is None else data[sign.end() :]


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 … 8, that a block of EXIF gives; 1 where it gives none."""
    value = _tags(block).get(_ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def exif_lens(block: bytes) -> Lens | None:
    """The lens that a block of EXIF names as a 35 mm equivalent; None where it names none that exists."""
    tags = _tags(block)
    if _MORE in tags:
        tags = _tags(block, tags[_MORE])
    focal, size = tags.get(_FOCAL_35MM, 0), (tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0))
    if not _FOCAL_RANGE_MM[0] <= focal <= _FOCAL_RANGE_MM[1]:
        return None
    return Lens(focal, size if min(size) > 0 else None)


def _tags(block: bytes, at: int | None = None) -> dict[int, int]:
    """Single whole numbers of a directory by their tag: of the one at ``at``, or the first."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    tags: dict[int, int] = {}
    if order is None:
        return tags
    try:
        if at is None:
            (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for number in range(min(count, _MOST_TAGS)):
            place = at + 2 + 12 * number
            tag, form, values = struct.unpack_from(order + "HHI", block, place)
            if form in _FORMS and values == 1 and tag not in tags:
                (tags[tag],) = struct.unpack_from(order + _FORMS[form], block, place + 8)
    except struct.error:
        pass  # cut short: what came before counts
    return tags
