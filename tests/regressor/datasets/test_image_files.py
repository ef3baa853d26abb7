"""Photographs as phones, scanners and the web have them: read, or refused with the true reason, in one line."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from encoded_pictures import encoded, picture

from regressor.datasets import image_header
from regressor.datasets.image_files import decode_image, read_header, read_image
from regressor.datasets.image_header import jpeg_header
from tokenizer.engine.errors import UserError


def with_exif(jpeg, orientation, order=">"):
    tiff = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    tiff += struct.pack(order + "HHHIHHI", 1, 0x112, 3, 1, orientation, 0, 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_phones_photographs_are_turned(tmp_path, orientation):
    upright = picture()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    for order in "<>":
        data = with_exif(encoded(".jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 100), orientation, order)
        (tmp_path / "a.jpg").write_bytes(data)
        assert jpeg_header(data).orientation == orientation
        assert read_header(tmp_path / "a.jpg").size == (60, 40)
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - upright).mean() < 3


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp", ".gif", ".jp2", ".ppm", ".jpg"])
def test_kinds_of_pictures(tmp_path, suffix):
    folder = tmp_path / "Fotos März"
    folder.mkdir()
    path = folder / f"ich (1){suffix.upper()}"
    path.write_bytes(encoded(suffix, picture()))
    assert read_header(path).size == (60, 40)
    assert np.abs(read_image(path).astype(int) - picture()).mean() < (30 if suffix == ".gif" else 6)


def test_grey_sixteen_bits_and_transparency():
    image = picture()
    grey = decode_image(cv2.imencode(".png", image[..., 0])[1].tobytes(), "a")
    assert (grey == image[..., :1]).all()
    for suffix in (".png", ".tif"):
        assert (decode_image(encoded(suffix, image.astype(np.uint16) * 257), "a") == image).all()
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:20, :30], alpha[20:, 30:] = 255, 128
    for form, scale in ((np.uint8, 1), (np.uint16, 257)):
        cutout = np.concatenate([image[..., ::-1] * (alpha > 0), alpha], -1).astype(form) * scale
        seen = decode_image(cv2.imencode(".png", cutout)[1].tobytes(), "a")
        assert (seen[:20, :30] == (200, 20, 20)).all() and (seen[:20, 30:] == 255).all()
        assert np.abs(seen[20:, 30:].astype(int) - (137, 137, 227)).max() <= 1, "half of it is the white behind"


def test_heic_and_avif(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for kind in ("heif", "avif"):
        memory = io.BytesIO()
        pillow.fromarray(picture(96, 64)).save(memory, kind, quality=95)
        (tmp_path / "IMG_1.HEIC").write_bytes(memory.getvalue())
        assert read_header(tmp_path / "IMG_1.HEIC").size == (96, 64)
        assert np.abs(read_image(tmp_path / "IMG_1.HEIC").astype(int) - picture(96, 64)).mean() < 6
        with pytest.raises(UserError, match=r"damaged|cut short"):
            decode_image(memory.getvalue()[:-300], "a.heic")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(2000)


def test_heic_without_its_library_names_both(monkeypatch):
    monkeypatch.setattr(image_header, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"IMG_0001.HEIC is HEIC, as iPhones write it.*pip install pillow-heif"):
        decode_image(HEIC, "IMG_0001.HEIC")


def npy():
    memory = io.BytesIO()
    np.save(memory, np.zeros((4, 5, 3), np.uint8))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy(), r"array of NumPy \(\.npy\)"),
        (b"PK\3\4" + bytes(50), "zip archive"),
        (b"", "an empty file"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(90), "a video.*ffmpeg"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(90), "a video.*ffmpeg"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(90), "a video.*ffmpeg"),
        (b"\x1aE\xdf\xa3" + bytes(90), "a video.*ffmpeg"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(200), "begins like AVIF, but is cut short or damaged"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS" + bytes(50), "Photoshop"),
        (b"<!DOCTYPE html><p>404", "a web page"),
        (b"<?xml version='1.0'?><svg>", "a drawing"),
        (b"hello", "a text file"),
        (bytes(90), "no known kind"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\xff\x0a" + bytes(9), "JPEG XL"),
        (encoded(".jpg", picture())[:-300], r"JPEG of 60 × 40 pixels that is cut short"),
        (encoded(".png", picture())[:-30], r"PNG of 60 × 40 pixels that is cut short"),
        (encoded(".webp", picture())[:-30], r"WebP of 60 × 40 pixels that is cut short"),
        (encoded(".jpg", picture())[:100], "begins like JPEG, but is cut short"),
        (b"\x89PNG\r\n\x1a\n\0\0", "begins like PNG, but is cut short"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path, capfd, data, says):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(UserError, match=says) as error:
        read_image(tmp_path / "a.jpg")
    assert "\n" not in str(error.value) and str(error.value).count("a.jpg") == 1
    assert capfd.readouterr().err == ""


def test_raw_files_of_cameras_are_no_thumbnails():
    data = encoded(".tif", picture())
    for name in ("IMG.DNG", "DSC.nef"):
        with pytest.raises(UserError, match="raw data of a camera"):
            decode_image(data, name)
