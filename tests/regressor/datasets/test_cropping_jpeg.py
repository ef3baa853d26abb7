"""Decoding at reduced size gives the crop of the whole image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from regressor.datasets import cropping as reading
from regressor.datasets.cropping import Framing, read_crop, warp
from tokenizer.engine.errors import UserError


def picture(height=485, width=643):
    """Smooth and fine structure; sizes that nothing divides."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 1, (height, width, 3))
    waves = np.stack([np.sin(x / 31) + np.cos(y / 23), np.sin((x + y) / 40), np.cos(x / 17) * np.sin(y / 29)], -1)
    return (128 + 50 * waves + 20 * cv2.GaussianBlur(noise, (0, 0), 2)).clip(0, 255).astype(np.uint8)


def encoded(image, kind=".jpg"):
    return cv2.imencode(kind, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98] if kind == ".jpg" else [])[1].tobytes()


FRAMINGS = [
    Framing((300, 200, 340, 240)),
    Framing((20.3, 30.8, 420.1, 430.6)),
    Framing((250, 90, 640, 480)),
    Framing((100.5, 40, 400.5, 340), roll=0.5, zoom=1.2, shift=(0.1, -0.05)),
    Framing((-60, -80, 540, 520), mirror=True, roll=-0.3),
    Framing((0, 0, 643, 643)),
]


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_reduced_decoding_shows_the_same(framing, size):
    data = encoded(picture())
    whole = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    expected = warp(whole, framing.image_from_crop(size), size).astype(float)
    crop = read_crop(data, framing, size)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    apart = np.abs(crop - expected)
    assert apart.mean() < 2.5 and np.quantile(apart, 0.99) < 12
    # Nothing has moved: at a quarter of a pixel to either side it fits worse.
    for step in (-0.25, 0.25):
        for axis in (0, 1):
            matrix = np.eye(2, 3)
            matrix[axis, 2] = step
            moved = warp(crop, matrix, size)
            inner = (slice(2, -2), slice(2, -2))
            assert ((moved - expected)[inner] ** 2).mean() > 0.8 * ((crop - expected)[inner] ** 2).mean()


def test_how_far_it_is_reduced():
    jpeg, png = encoded(picture(64, 64)), encoded(picture(64, 64), ".png")
    reductions = [reading._reduction(jpeg, scale) for scale in (0.5, 1.9, 2, 3.9, 4, 7.9, 8, 50)]
    assert reductions == [1, 1, 2, 2, 4, 4, 8, 8]
    assert reading._reduction(png, 8) == 1
    assert reading._reduction(jpeg[:2] + b"\xff\xe1\0\x08Exif\0\0" + jpeg[2:], 8) == 1


def test_other_formats_and_turned_pictures_are_read_whole():
    image = picture(96, 128)
    framing = Framing((0, 0, 96, 96))
    expected = warp(image, framing.image_from_crop(16), 16)
    assert (read_crop(encoded(image, ".png"), framing, 16) == expected).all()
    jpeg = encoded(image)
    orientation = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(orientation) + 2).to_bytes(2, "big") + orientation + jpeg[2:]
    seen = read_crop(turned, framing, 16).astype(int)
    upright = warp(np.ascontiguousarray(np.rot90(image, -1)), framing.image_from_crop(16), 16)
    assert np.abs(seen - upright).mean() < 3


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0 cut short"])
def test_bytes_that_are_no_image(data):
    with pytest.raises(UserError, match=r"a\.jpg (cannot be read|is no image)"):
        read_crop(data, Framing((0, 0, 9, 9)), 8, where="a.jpg")


def test_a_box_outside_is_refused():
    with pytest.raises(UserError, match="outside its image"):
        read_crop(encoded(picture(64, 64)), Framing((900, 0, 1900, 1000)), 32)
