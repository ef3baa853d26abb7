"""Image headers: sizes without decoding, whatever stands between segments."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from encoded_pictures import encoded, picture

from regressor.datasets import image_files
from regressor.datasets.exif import exif_orientation
from regressor.datasets.image_files import decode_image, read_header, read_image
from regressor.datasets.image_header import MOST_PIXELS, jpeg_header
from tokenizer.engine.errors import UserError


def png_of(width, height, bits=1):
    """A PNG whose header says so much, with hardly any pixels behind it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def huge(kind):
    """The beginning of a picture that claims 30,000 × 20,000 pixels."""
    width, height = 30_000, 20_000
    if kind == "png":
        return png_of(width, height)
    if kind == "gif":
        data = bytearray(encoded(".gif", picture()))
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "webp":
        size = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
        data = b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + size + bytes(40)
    elif kind == "jpeg":
        data = encoded(".jpg", picture())
        data = data.replace(struct.pack(">HH", 40, 60), struct.pack(">HH", height, width), 1)
    elif kind == "bmp":
        data = bytearray(encoded(".bmp", picture()))
        data[18:26] = struct.pack("<ii", width, -height)
    elif kind in ("tiff", "tile"):
        first = (322, 323) if kind == "tile" else (256, 257)
        tags = {256: 60, 257: 40} | dict(zip(first, (width, height)))
        rows = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
        data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4)
    elif kind == "jp2":
        data = b"\xff\x4f\xff\x51" + struct.pack(">HHIIII", 49, 0, width + 5, height + 5, 5, 5) + bytes(60)
    elif kind == "avif":
        data = b"\0\0\0\x14ftypavif\0\0\0\0avif" + b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", width, height)
    else:
        data = b"P6\n# by hand\n%d %d\n255\n" % (width, height)
    return bytes(data)


@pytest.mark.parametrize("kind", ["png", "gif", "webp", "jpeg", "bmp", "tiff", "tile", "jp2", "avif", "ppm"])
def test_a_small_file_of_a_huge_picture_takes_no_memory(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it is decoded"))
    (tmp_path / "a.bin").write_bytes(huge(kind))
    tracemalloc.start()
    for read in (read_image, read_header):
        with pytest.raises(UserError, match=r"too large; got 30,000 × 20,000 pixels.* 200 megapixels"):
            read(tmp_path / "a.bin")
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()
    assert MOST_PIXELS >= 16_320 * 12_240, "the largest sensors of phones"


def test_of_a_video_only_the_beginning_is_read(tmp_path, monkeypatch):
    with (tmp_path / "a.mp4").open("wb") as file:
        file.write(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41")
        file.truncate(1 << 34)
    with pytest.raises(UserError, match="a video"):
        read_image(tmp_path / "a.mp4")
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg", picture()))
    monkeypatch.setattr(image_files, "_MOST_BYTES", 100)
    with pytest.raises(UserError, match=r"too large; got [0-9,]+ bytes"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(UserError, match="is a folder"):
        read_image(tmp_path)


def test_headers_of_jpegs_with_anything_between_segments():
    data = encoded(".jpg", picture())
    loose = data[:2] + b"\xff\xff\xff\xfe\0\x04hi" + b"\0junk" + data[2:]
    header = jpeg_header(loose)
    assert (header.width, header.height, header.orientation) == (60, 40, 1)
    assert np.abs(decode_image(loose, "a").astype(int) - picture()).mean() < 6
    assert exif_orientation(b"MM\0*\0\0\xff\xff") == 1 and exif_orientation(b"") == 1
