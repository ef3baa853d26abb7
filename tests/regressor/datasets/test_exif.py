"""EXIF: orientation and lens, in every kind of file that carries it; damaged blocks say nothing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from encoded_pictures import encoded, picture
from exif_blocks import exif, with_exif

from regressor.datasets.exif import Lens, exif_block, exif_lens, exif_orientation
from regressor.datasets.image_files import decode_image


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_block_names_lens_size_and_orientation(order):
    block = exif(26, (4032, 3024), 6, order)
    assert exif_lens(block) == Lens(26, (4032, 3024)) and exif_orientation(block) == 6
    assert exif_lens(exif(26, (100_000, 3024), 6, order)) == Lens(26, (100_000, 3024)), "a LONG"
    assert exif_lens(exif(50, None, 1, order)) == Lens(50)


@pytest.mark.parametrize("focal", [None, 0, 1, 65535])
def test_a_lens_that_does_not_exist_is_none(focal):
    assert exif_lens(exif(focal, (640, 480))) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_every_kind_of_picture_carries_it(suffix):
    data = with_exif(encoded(suffix, picture()), exif(26, (60, 40)))
    assert exif_lens(exif_block(data)) == Lens(26, (60, 40))
    assert decode_image(data, f"a{suffix}").shape == (40, 60, 3)
    assert exif_block(encoded(suffix, picture())) == b""


def test_heic_of_a_phone_carries_it():
    image, heif = pytest.importorskip("PIL.Image"), pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    file = io.BytesIO()
    image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(file, format="HEIF", exif=b"Exif\0\0" + exif(26, (96, 64)))
    assert exif_lens(exif_block(file.getvalue())) == Lens(26, (96, 64))


def test_damaged_blocks_say_nothing_and_raise_nothing():
    block = exif(26, (4032, 3024), 6, ">")
    for end in range(len(block)):
        assert exif_orientation(block[:end]) in (1, 6) and exif_lens(block[:end]) in (None, Lens(26, (4032, 3024)))
    rng = np.random.default_rng(0)
    for _ in range(300):
        noisy = bytearray(block)
        for place in rng.integers(4, len(block), 3):
            noisy[place] = rng.integers(256)
        lens = exif_lens(bytes(noisy))
        assert lens is None or 3 <= lens.focal_35mm <= 3000
        assert 1 <= exif_orientation(bytes(noisy)) <= 8
    assert exif_lens(b"") is None and exif_block(b"") == b""
