"""Blocks of EXIF, and pictures that carry them."""

from __future__ import annotations

import struct
import zlib


def directory(tags, order):
    """A directory of a block: {tag: whole number}, each a LONG where it needs to be."""
    entries = b"".join(
        struct.pack(order + "HHI", tag, 3 if value < 1 << 16 else 4, 1)
        + struct.pack(order + ("HH" if value < 1 << 16 else "I"), *((value, 0) if value < 1 << 16 else (value,)))
        for tag, value in sorted(tags.items())
    )
    return struct.pack(order + "H", len(tags)) + entries + bytes(4)


def exif(focal_35mm=None, size=None, orientation=1, order="<"):
    """A block of EXIF that names a lens, and the size in pixels of the picture as it was taken."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    first = {0x0112: orientation, 0x8769: 8 + 2 + 2 * 12 + 4}
    more = {} if focal_35mm is None else {0xA405: focal_35mm}
    if size is not None:
        more |= {0xA002: size[0], 0xA003: size[1]}
    return head + directory(first, order) + directory(more, order)


def with_exif(picture, block):
    """The bytes of a JPEG, PNG or WebP with a block of EXIF."""
    if picture.startswith(b"\xff\xd8"):
        segment = b"Exif\0\0" + block
        return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + picture[2:]
    if picture.startswith(b"\x89PNG"):
        chunk = b"eXIf" + block
        return (
            picture[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + picture[33:]
        )
    return picture + b"EXIF" + struct.pack("<I", len(block)) + block
