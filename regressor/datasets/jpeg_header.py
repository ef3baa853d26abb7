"""What the first bytes of a JPEG say of it, without decoding a pixel."""

from __future__ import annotations

from dataclasses import dataclass

_START = b"\xff\xd8\xff"
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)
"""Tables and extensions, numbered among the start-of-frame markers C0 … CF."""


@dataclass(frozen=True)
class JpegHeader:
    """``width`` and ``height`` in pixels as stored; ``exif``: whether there is EXIF, which may turn the picture."""

    width: int
    height: int
    exif: bool


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None for other bytes, and for a JPEG that does not come as far as its pixels."""
    if not data.startswith(_START):
        return None
    at, size, exif = 2, (0, 0), False
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # padding
            at += 1
            continue
        if kind == 0xDA:  # pixels begin
            return JpegHeader(size[1], size[0], exif) if min(size) > 0 else None
        if 0xC0 <= kind <= 0xCF and kind not in _NOT_FRAMES:
            size = (int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big"))
        exif = exif or (kind == 0xE1 and data.startswith(b"Exif\0\0", at + 4))
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
