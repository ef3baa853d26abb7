"""A crop from a shard is the crop of the photograph, however it is framed, as far as what is stored goes."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from regressor.datasets import cropping as reading
from regressor.datasets.augmentation.augment import reframe
from regressor.datasets.augmentation.mirroring import mirror
from regressor.datasets.cropping import Framing, crop_stored, warp
from regressor.datasets.image_header import jpeg_header
from regressor.datasets.shard_file import encode_person
from tokenizer.engine.errors import UserError

BOX = (110.4, 60.8, 330.4, 280.8)
FRAMINGS = [
    Framing(BOX),
    Framing(BOX, mirror=True),
    Framing(BOX, roll=0.4, zoom=0.8, shift=(0.05, -0.1)),
    Framing(BOX, mirror=True, roll=-0.5, zoom=1.1, shift=(-0.02, 0.02)),
    Framing(BOX, zoom=0.3, shift=(0.3, 0.2)),
]


def photograph(height=345, width=463):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 31) + np.cos(y / 23), np.sin((x + y) / 40), np.cos(x / 17) * np.sin(y / 29)]
    return (128 + 55 * np.stack(waves, -1)).round().astype(np.uint8)


def person(image, box=BOX, pixels=256):
    row = encode_person(image, np.array(box), margin=1.5, pixels=pixels, quality=98)
    return row["jpeg"], row["stored"].astype(np.float32)


@pytest.mark.parametrize("pixels", [256, 100])
@pytest.mark.parametrize("size", [48, 128, 200])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_equals_the_crop_of_the_photograph(framing, size, pixels):
    image = photograph()
    truth = warp(image, framing.image_from_crop(size), size)
    crop = crop_stored(*person(image, pixels=pixels), framing, size)  # type: ignore[call-arg]
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    apart = np.abs(crop.astype(int) - truth)
    assert apart.mean() < 1 and apart.max() < 16
    signed, stored_pixels = (crop.astype(int) - truth).mean(-1), 220 * framing.zoom / size * min(1, pixels / 220)
    for axis in (0, 1):
        slope = np.gradient(truth.mean(-1), axis=axis)
        moved = (signed * slope).sum() / (slope**2).sum()
        assert abs(moved) * min(1, stored_pixels) < 0.1, "so many pixels of the coarser of both"


def test_what_is_too_fine_is_averaged_not_sampled():
    checks = np.repeat((np.indices((300, 300)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    done, data = cv2.imencode(".jpg", checks, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert done
    for side, roll in ((105, 0.0), (150, 0.5), (290, 0.2)):  # 1.05, 1.5 and, decoded at 1/2, 2.9 to a pixel
        framing = Framing((150 - side / 2, 150 - side / 2, 150 + side / 2, 150 + side / 2), roll=roll)
        crop = crop_stored(data.tobytes(), np.array([0, 0, 300, 300]), framing, 100)
        # What reaches beyond the picture shows its edge, a row of checks.
        assert crop[25:75, 25:75].std() < (90 if side == 105 else 40), (side, crop.std())


@pytest.mark.parametrize("mirrored", [False, True])
def test_augmentation_changes_the_crop_as_it_changes_the_sample(sample, mirrored):
    """The crop of a framing is what ``mirror`` and ``reframe`` make of the crop without."""
    size, image = 96, photograph()
    jpeg, stored = person(image)
    plain = Framing(BOX)
    crop = torch.from_numpy(crop_stored(jpeg, stored, plain, size)).permute(2, 0, 1)
    one = {name: values[:1] for name, values in sample.items()}
    one |= {"image": crop[None], "box": torch.tensor([BOX]), "image_size": torch.tensor([[463.0, 345.0]])}
    roll, zoom, shift = 0.35, 0.8, (0.06, -0.04)
    pelvis = torch.zeros(1, 3)
    expected = (
        reframe(
            mirror(one, torch.tensor([mirrored]), pelvis),
            torch.tensor([roll]),
            torch.tensor([zoom]),
            torch.tensor([shift]),
            pelvis,
        )["image"][0]
        .permute(1, 2, 0)
        .numpy()
        .astype(int)
    )
    framing = replace(plain, mirror=mirrored, roll=roll, zoom=zoom, shift=shift)
    inner = (slice(12, -12), slice(12, -12))  # the crop's own corners are not in the crop
    apart = np.abs(crop_stored(jpeg, stored, framing, size) - expected)[inner]
    assert apart.mean() < 1 and apart.max() < 8
    wrong = replace(framing, mirror=not mirrored)
    assert np.abs(crop_stored(jpeg, stored, wrong, size) - expected)[inner].mean() > 10


def test_whole_pixels_stay_and_a_mirror_is_exact():
    jpeg, stored = person(photograph(), (100.0, 60, 164, 124))
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    x, y = (100, 60) - stored[:2].astype(int)
    box = Framing((100, 60, 164, 124))
    assert (crop_stored(jpeg, stored, box, 64) == decoded[y : y + 64, x : x + 64]).all()
    mirrored = crop_stored(jpeg, stored, replace(box, mirror=True), 64)
    assert (mirrored == decoded[y : y + 64, x : x + 64][:, ::-1]).all()
    turned = crop_stored(jpeg, stored, replace(box, roll=math.pi / 2), 64)
    assert (turned == np.rot90(decoded[y : y + 64, x : x + 64], -1)).all()


@pytest.mark.parametrize("size", [20, 200])
def test_beyond_what_is_stored_its_edge_goes_on(size):
    data = cv2.imencode(".jpg", np.full((60, 60, 3), 90, np.uint8))[1].tobytes()
    stored = np.array([200.0, 100, 260, 160])
    for box in ((150, 50, 310, 210), (500, 100, 560, 160), (-900, -900, -800, -800)):
        assert (crop_stored(data, stored, Framing(box), size) == 90).all()


def test_much_finer_jpegs_are_decoded_at_reduced_size(monkeypatch):
    image, seen = photograph(), []
    jpeg, stored = person(image)
    real = cv2.imdecode
    monkeypatch.setattr(reading.cv2, "imdecode", lambda data, flags: seen.append(flags) or real(data, flags))
    for size in (200, 100, 50, 25):
        crop_stored(jpeg, stored, Framing(BOX), size)
    assert seen == [
        cv2.IMREAD_COLOR,
        cv2.IMREAD_REDUCED_COLOR_2,
        cv2.IMREAD_REDUCED_COLOR_4,
        cv2.IMREAD_REDUCED_COLOR_8,
    ]


def test_bad_input():
    jpeg, stored = person(photograph())
    for bad in (b"", b"no picture", jpeg[:40], cv2.imencode(".png", photograph())[1].tobytes()):
        with pytest.raises(UserError, match="stored crop is no JPEG"):
            crop_stored(bad, stored, Framing(BOX), 32)
    with pytest.raises(UserError, match="no area"):
        crop_stored(jpeg, stored, Framing((5, 5, 5, 9)), 32)


def test_header_of_a_jpeg():
    jpeg = cv2.imencode(".jpg", photograph(37, 53))[1].tobytes()
    header = jpeg_header(jpeg)
    assert (header.width, header.height, header.exif) == (53, 37, False)
    with_exif = jpeg[:2] + b"\xff\xff\xe1\0\x08Exif\0\0" + jpeg[2:]
    assert jpeg_header(with_exif).exif and jpeg_header(with_exif).width == 53
    progressive = cv2.imencode(".jpg", photograph(37, 53), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert replace(jpeg_header(progressive), pixels_at=header.pixels_at) == header
    for data in (jpeg, progressive):
        assert data[jpeg_header(data).pixels_at :].startswith(b"\xff\xda")
    for cut in (b"", b"\xff\xd8\xff", jpeg[:30], jpeg[: jpeg.index(b"\xff\xda")], b"\x89PNG" + jpeg):
        assert jpeg_header(cut) is None
