"""Kind, size and orientation of an image file from its first bytes, without decoding a pixel."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from importlib.util import find_spec

from tokenizer.engine.errors import fail

from .exif import exif_orientation

_START = b"\xff\xd8\xff"
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)
"""Tables and extensions, numbered among the start-of-frame markers C0 … CF."""
_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a length: temporary, restarts, start of the image."""


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


MOST_PIXELS = 200_000_000
"""Of a picture that is decoded: as many as the largest phone cameras take; 0.6 GB in memory."""
READ_FIRST = 1 << 16
"""Bytes that identify the kind of every file."""
_READABLE = "a photograph as JPEG, PNG, WebP, TIFF, GIF, BMP, HEIC or AVIF"
_RAW_SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".pef")
_VIDEO_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"M4V", b"qt  ", b"3gp", b"3g2", b"MSNV", b"dash", b"f4v", b"mmp4")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
_FRAMES = "Take pictures out of it, e.g. with `ffmpeg -i VIDEO frame_%05d.jpg`"
_SAVE = "Save it as JPEG or PNG"
_OTHERS: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x93NUMPY", 0, "an array of NumPy (.npy)", "Save its pixels as PNG, e.g. with cv2.imwrite"),
    (b"PK\x03\x04", 0, "a zip archive (npz, docx, …)", "Give the pictures in it"),
    (b"\x1f\x8b", 0, "a gzip archive", "Give the pictures in it"),
    (b"ustar", 257, "a tar archive", "Give the pictures in it"),
    (b"AVI ", 8, "a video (AVI)", _FRAMES),
    (b"\x1aE\xdf\xa3", 0, "a video (Matroska or WebM)", _FRAMES),
    (b"\x00\x00\x01\xba", 0, "a video (MPEG)", _FRAMES),
    (b"\x00\x00\x01\xb3", 0, "a video (MPEG)", _FRAMES),
    (b"FLV\x01", 0, "a video (Flash)", _FRAMES),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, "a video (Windows Media)", _FRAMES),
    (b"%PDF", 0, "a PDF", _SAVE),
    (b"8BPS", 0, "a Photoshop file", _SAVE),
    (b"\xff\x0a", 0, "a JPEG XL picture", _SAVE),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL picture", _SAVE),
    (b"\x76\x2f\x31\x01", 0, "an OpenEXR picture", _SAVE),
    (b"#?RADIANCE", 0, "a Radiance HDR picture", _SAVE),
    (b"\x89HDF", 0, "an HDF5 file", "Give a picture"),
    (b"version https://git-lfs", 0, "a pointer of Git LFS, not the picture itself", "Run `git lfs pull`"),
)


@dataclass(frozen=True)
class ImageHeader:
    """What kind of picture: JPEG, PNG, … as messages call it; ``width`` and ``height`` in pixels as stored;
    ``orientation``: EXIF's, 1 … 8, None where there is some and it was not read; ``alpha``: whether parts may be
    transparent."""

    kind: str
    width: int
    height: int
    orientation: int | None = 1
    alpha: bool = False

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height as shown, turned by EXIF; None where that is not known without decoding."""
        if self.orientation is None:
            return None
        return (self.width, self.height) if self.orientation < 5 else (self.height, self.width)


def image_header(data: bytes, name: str) -> ImageHeader:
    """The header of a picture from its file, or the first ``READ_FIRST`` bytes; of a TIFF or a JPEG from all.

    Raises ``UserError`` that says what the file is instead, which library it needs, that it ends before its size, or
    that it is too large to be decoded (``MOST_PIXELS``).
    """
    if not data:
        raise fail(f"{name} is no image", got="an empty file", expected=_READABLE, next_step="Copy it again")
    kind = kind_of(data)
    if kind is None:
        raise _something_else(data, name)
    if kind == "TIFF" and (name.lower().endswith(_RAW_SUFFIXES) or data[8:10] == b"CR"):
        raise _raw(name)
    _check_library(kind, name)
    try:
        header = _READERS[kind](data)
    except (struct.error, IndexError, ValueError, OverflowError):
        header = None
    if header is None or min(header.width, header.height) <= 0:
        got = f"what begins like {kind}, but is cut short or damaged before its size"
        raise fail(f"{name} cannot be read", got=got, next_step="Copy it again")
    if header.width * header.height > MOST_PIXELS:
        raise fail(
            f"{name} is too large",
            got=f"{header.width:,} × {header.height:,} pixels",
            expected=f"{MOST_PIXELS / 1e6:.0f} megapixels at most",
            next_step="Save it smaller, or cut out the person",
        )
    return header


def _check_library(kind: str, name: str) -> None:
    """Raise ``UserError`` where nothing is installed that decodes this kind of picture."""
    if kind == "HEIC" and find_spec("pillow_heif") is None:
        raise fail(
            f"{name} is HEIC, as iPhones write it, and nothing installed reads that",
            next_step="Run `pip install pillow-heif`, or save it as JPEG",
        )


def kind_of(data: bytes) -> str | None:
    """The kind of picture that ``data`` begins like, None for anything else."""
    if data[4:8] == b"ftyp":
        return _kind_of_boxes(data)
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else None
    return next((kind for sign, kind in _SIGNS if data.startswith(sign)), None)


_SIGNS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    *((b"P%d%c" % (number, end), "PNM") for number in range(1, 8) for end in b" \t\n\r#"),
)


def _kind_of_boxes(data: bytes) -> str | None:
    """Of a file of ISO boxes: HEIC, AVIF, or None for a video."""
    end = min(max(int.from_bytes(data[:4], "big"), 16), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    if any(brand in (b"avif", b"avis") for brand in brands):
        return "AVIF"
    return "HEIC" if any(brand in _HEIC_BRANDS for brand in brands) else None


def _something_else(data: bytes, name: str) -> Exception:
    if data[4:8] == b"ftyp" and data[8:12] == b"crx ":
        return _raw(name)
    if (data[4:8] == b"ftyp" and data[8:12].startswith(_VIDEO_BRANDS)) or data[4:8] in (b"moov", b"mdat", b"wide"):
        return fail(f"{name} is no image", got="a video (MP4 or QuickTime)", expected=_READABLE, next_step=_FRAMES)
    for sign, at, kind, step in _OTHERS:
        if data[at : at + len(sign)] == sign:
            return fail(f"{name} is no image", got=kind, expected=_READABLE, next_step=step)
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in data[:READ_FIRST].lower() and start.startswith(b"<"):
        return fail(f"{name} is no image", got="a drawing (SVG)", expected=_READABLE, next_step=_SAVE)
    if start.startswith((b"<!doctype html", b"<html")):
        return fail(f"{name} is no image", got="a web page", expected=_READABLE, next_step="Download the picture")
    readable = not any(byte < 9 or 13 < byte < 27 for byte in data[:512])
    got = "a text file" if readable else f"bytes of no known kind, {data[:8].hex(' ')} …"
    return fail(f"{name} is no image", got=got, expected=_READABLE)


def _raw(name: str) -> Exception:
    return fail(
        f"{name} is no finished picture",
        got="the raw data of a camera",
        expected=_READABLE,
        next_step="Develop it, and save it as JPEG",
    )


def _jpeg(data: bytes) -> ImageHeader | None:
    header = jpeg_header(data)
    return None if header is None else ImageHeader("JPEG", header.width, header.height, header.orientation)


def _png(data: bytes) -> ImageHeader | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    head = data[: data.find(b"IDAT")] if b"IDAT" in data else data
    at = head.find(b"eXIf")
    orientation = 1 if at < 0 else exif_orientation(head[at + 4 :])
    return ImageHeader("PNG", width, height, orientation, data[25] in (4, 6) or b"tRNS" in head)


def _gif(data: bytes) -> ImageHeader | None:
    return ImageHeader("GIF", *struct.unpack("<HH", data[6:10]))


def _webp(data: bytes) -> ImageHeader | None:
    form = data[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)
    if form == b"VP8L":
        bits = struct.unpack("<I", data[21:25])[0]
        return ImageHeader("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1, bool(bits >> 28 & 1))
    if form != b"VP8X" or len(data) < 30:
        return None
    width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    return ImageHeader("WebP", width, height, None if data[20] & 8 else 1, bool(data[20] & 16))


def _bmp(data: bytes) -> ImageHeader | None:
    old = int.from_bytes(data[14:18], "little") == 12
    width, height = struct.unpack("<HH", data[18:22]) if old else struct.unpack("<ii", data[18:26])
    return ImageHeader("BMP", abs(width), abs(height))


def _tiff(data: bytes) -> ImageHeader | None:
    order, big = "<" if data[:1] == b"I" else ">", data[2 if data[:1] == b"I" else 3] == 43
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    tags: dict[int, int] = {}
    for number in range(min(count, 4096)):
        place = at + number * (20 if big else 12)
        tag, form = struct.unpack_from(order + "HH", data, place)
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(form)
        if code:
            (tags[tag],) = struct.unpack_from(order + code, data, place + (12 if big else 8))
        elif tag == 50706:  # DNGVersion: what a TIFF reader sees of it is a thumbnail
            return None
    if 50706 in tags:
        return None
    sides = tags.get(256, 0), tags.get(257, 0)
    tile = tags.get(322, 1), tags.get(323, 1)  # as much is taken for a tile, however small the picture
    if tile[0] * tile[1] > max(MOST_PIXELS, sides[0] * sides[1]):
        sides = tile
    orientation = tags.get(274, 1)
    return ImageHeader("TIFF", *sides, orientation if orientation == 1 else None)


def _pnm(data: bytes) -> ImageHeader | None:
    text = re.sub(rb"#[^\n]*", b"", data[:4096])
    sides = re.match(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s", text)
    if data[1:2] == b"7":
        sides = re.search(rb"\bWIDTH\s+(\d{1,9})\s+HEIGHT\s+(\d{1,9})\b", text)
    return None if sides is None else ImageHeader("PNM", int(sides.group(1)), int(sides.group(2)))


def _jpeg_2000(data: bytes) -> ImageHeader | None:
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return None
    right, below, left, above = struct.unpack_from(">IIII", data, at + 8)
    return ImageHeader("JPEG 2000", right - left, below - above)


def _boxes(kind: str, data: bytes) -> ImageHeader | None:
    """HEIC and AVIF: the largest of the pictures inside, which are the photograph, its tiles and its thumbnail."""
    sizes = [struct.unpack(">II", match.group(1)) for match in re.finditer(rb"(?s)ispe\0\0\0\0(.{8})", data)]
    width, height = max(sizes, key=lambda sides: sides[0] * sides[1], default=(0, 0))
    turned = any(box in data for box in (b"irot", b"imir", b"clap", b"Exif"))
    return ImageHeader(kind, width, height, None if turned else 1)


_READERS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WebP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
    "PNM": _pnm,
    "JPEG 2000": _jpeg_2000,
    "HEIC": lambda data: _boxes("HEIC", data),
    "AVIF": lambda data: _boxes("AVIF", data),
}
