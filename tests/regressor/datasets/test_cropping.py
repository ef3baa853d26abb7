"""Crops of any framing: exact where they can be, free of aliasing, equal to the recorded crops of the reference."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reference_crop import reference_crop, reference_framing, reference_side

from regressor.config import preset
from regressor.datasets.cropping import Framing, cut_crop, scale_of, warp, whole_pixel_box
from regressor.geometry.camera import square_box
from regressor.network.model import normalise
from tokenizer.engine.errors import UserError

FIXTURES = Path(__file__).parents[3].parent / "shared" / "reference" / "fixtures" / "data"
recorded = pytest.mark.skipif(not FIXTURES.exists(), reason="recorded outputs are not part of a clone")


@pytest.fixture(scope="module")
def golden():
    return np.load(FIXTURES / "golden.npz")


@pytest.fixture(scope="module")
def photo(golden):
    return np.ascontiguousarray(golden["image_bgr"][..., ::-1])


def smooth_image(height=90, width=120):
    y, x = np.mgrid[:height, :width]
    waves = 128 + 100 * np.sin(x / 9) * np.cos(y / 7)
    return np.stack([x * 255 / width, y * 255 / height, waves], -1).round().astype(np.uint8)


def grey_levels(crop, patch):
    """Largest and mean difference of a crop (S,S,3) uint8 from a recorded normalised patch (3,S,S), in grey levels."""
    std = 255 * np.array([0.229, 0.224, 0.225])[:, None, None]
    difference = np.abs(normalise(torch.from_numpy(crop).permute(2, 0, 1)).numpy() - patch[:3]) * std
    return difference.max(), difference.mean()


@pytest.mark.parametrize("roll, mirror", [(0.0, False), (0.4, False), (-1.2, True), (0.0, True)])
def test_map_sends_crop_points_where_the_framing_says(roll, mirror):
    framing = Framing((10.0, 20.0, 50.0, 60.0), mirror, roll, zoom=1.5, shift=(0.1, -0.2))
    size = 32
    matrix = framing.image_from_crop(size)
    assert scale_of(matrix) == pytest.approx(40 * 1.5 / size)
    # The image point at old crop units v lands at (turn · mirrored v − shift) / zoom.
    old = np.array([0.3, -0.1])
    turned = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    new = (turned @ (old * ([-1, 1] if mirror else [1, 1])) - (0.1, -0.2)) / 1.5
    index = (new + 0.5) * size - 0.5
    assert np.allclose(matrix @ [*index, 1] + 0.5, np.array([30, 40]) + 40 * old)


def test_whole_pixels_are_kept_and_averaged_exactly():
    image = smooth_image()
    assert (cut_crop(image, np.array([10, 20, 42, 52]), 32) == image[20:52, 10:42]).all()
    blocks = image[20:84, 10:74].reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(cut_crop(image, np.array([10, 20, 74, 84]), 16) - blocks).max() <= 0.5
    turned = warp(image, Framing((10, 20, 42, 52), roll=math.pi / 2).image_from_crop(32), 32)
    assert (turned == np.rot90(image[20:52, 10:42], -1)).all(), "clockwise"
    mirrored = warp(image, Framing((10, 20, 42, 52), mirror=True).image_from_crop(32), 32)
    assert (mirrored == image[20:52, 10:42][:, ::-1]).all()


@pytest.mark.parametrize("roll", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("side", [37.3, 64.0, 81.7])
def test_shrinking_keeps_places_and_forgets_what_is_too_fine(side, roll):
    size = 24
    matrix = Framing((10.2, 5.6, 10.2 + side, 5.6 + side), roll=roll).image_from_crop(size)
    smooth = smooth_image()
    places = np.stack([*np.meshgrid(np.arange(size), np.arange(size)), np.ones((size, size))], -1) @ matrix.T
    inside = ((places > 2) & (places < np.array([117, 87]))).all(-1)
    expected = places[..., 0] * 255 / 120
    # A quarter of an image pixel is half a grey level here; two roundings are one.
    wrong = (warp(smooth, matrix, size)[..., 0] - expected)[inside]
    assert abs(wrong.mean()) < 0.15 and np.abs(wrong).max() < 1.5
    checks = (np.indices((90, 120)).sum(0) % 2 * 255).astype(np.uint8)
    assert warp(checks, matrix, size)[inside].std() < 30 < warp(checks, matrix, size, antialias=False)[inside].std()


def area_averages(image, matrix, size, samples=16):
    """What a crop would be if every pixel of it were the exact average over its area of the image."""
    fine = matrix.copy()
    fine[:, 2] += fine[:, :2] @ np.full(2, 0.5 / samples - 0.5)
    fine[:, :2] /= samples
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(image, fine, (size * samples,) * 2, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return seen.reshape(size, samples, size, samples, -1).mean((1, 3))


@pytest.mark.parametrize(
    "scale, most",
    [(1.02, 0.9), (1.2, 0.9), (1.5, 0.6), (2.0, 0.45), (2.6, 0.25), (3.1, 0.25), (3.3, 0.4), (6.0, 0.25), (9.0, 0.3)],
)
@pytest.mark.parametrize("roll", [0.0, 0.3])
def test_close_to_averages_over_areas(scale, most, roll):
    """On noise of all frequencies: by so many times the error of sampling, or less; a colour stays as it is."""
    draw = np.random.default_rng(0)
    image = (128 + 40 * draw.normal(size=(400, 400, 3))).clip(0, 255).astype(np.uint8)
    size = round(200 / scale)
    half = scale * size / 2
    matrix = Framing((199.3 - half, 201.6 - half, 199.3 + half, 201.6 + half), roll=roll).image_from_crop(size)
    truth = area_averages(image, matrix, size)
    wrong, sampled = (((warp(image, matrix, size, antialias=on) - truth) ** 2).mean() ** 0.5 for on in (True, False))
    assert wrong < most * sampled or wrong < 1.5
    for grey in (1, 77, 200, 254):
        assert (warp(np.full((400, 400), grey, np.uint8), matrix, size) == grey).all()


@pytest.mark.parametrize("scale", [1.15, 1.3, 1.6, 1.9, 2.7, 3.1, 3.3, 5.0])
def test_stripes_too_fine_for_the_crop_are_left_no_stronger_than_by_averages(scale):
    x = np.arange(400)[None] * np.ones((400, 1))
    size = round(200 / scale)
    half = scale * size / 2
    matrix = Framing((199.3 - half, 201.6 - half, 199.3 + half, 201.6 + half)).image_from_crop(size)
    for above in (1.1, 1.3, 1.6):
        frequency = above * math.pi / scale  # 1: alternate pixels of the crop
        if frequency < math.pi:
            stripes = (128 + 100 * np.sin(frequency * x)).round().astype(np.uint8)
            assert warp(stripes, matrix, size).std() < 1.1 * area_averages(stripes, matrix, size).std() + 4


def test_beyond_the_image_is_edge_or_black_and_nothing_is_refused():
    image = np.full((40, 40, 3), 200, np.uint8)
    matrix = Framing((-20, -20, 20, 20)).image_from_crop(20)
    assert (warp(image, matrix, 20) == 200).all()
    black = warp(image, matrix, 20, outside="black")
    assert (black[:9] == 0).all() and (black[11:, 11:] == 200).all()
    with pytest.raises(UserError, match="outside its image"):
        cut_crop(image, np.array([40.0, 0, 60, 20]), 16)
    for bad in ((5, 5, 5, 5), (5, 5, 1, 9), (0, 0, math.nan, 4), (0, 0, math.inf, 4)):
        with pytest.raises(UserError, match="no area"):
            cut_crop(image, np.array(bad), 16)


def test_box_rule_fits_a_wide_person_into_what_the_network_sees():
    wide = torch.tensor([100.0, 100, 200, 150])
    assert torch.allclose(square_box(wide, 1.0), torch.tensor([100.0, 75, 200, 175]))
    square = square_box(wide, 1.0, preset("vit-h").backbone.aspect)
    side = square[2] - square[0]
    assert side == pytest.approx(100 / 0.75)
    assert square[0] + side / 8 == pytest.approx(100, abs=1e-4), "what the ViT leaves out begins beside the person"
    tall = torch.tensor([100.0, 100, 150, 200])
    assert torch.equal(square_box(tall), square_box(tall, aspect=preset("vit-h").backbone.aspect))
    assert preset("small").backbone.aspect == 1


@recorded
@pytest.mark.parametrize("name", ["plain", "upscale", "downscale", "outside", "aspect", "rgb_array"])
def test_published_crop(golden, photo, name):
    side = float(golden[f"{name}/size"])
    if name == "aspect":
        assert reference_side(*golden["aspect/in_wh"]) == pytest.approx(side)
    centre = tuple(golden[f"{name}/center"])
    most, mean = grey_levels(reference_crop(photo, centre, side), golden[f"{name}/patch"])
    assert most <= 6 and mean <= 0.15
    shown = np.linalg.inv(np.vstack([golden[f"{name}/trans"], [0, 0, 1]]))[:2]
    assert np.allclose(reference_framing(centre, side).image_from_crop(256), shown, atol=1e-4)


@recorded
def test_published_prediction_crop(golden, photo):
    box = golden["vitdet0/box"]
    side = reference_side(box[2] - box[0], box[3] - box[1])
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    assert side == golden["vitdet0/box_size"]
    most, mean = grey_levels(reference_crop(photo, centre, side), golden["vitdet0/patch"])
    assert most <= 6 and mean <= 0.15
    ours = square_box(torch.from_numpy(box), aspect=0.75)
    assert float(ours[2] - ours[0]) == pytest.approx(1.2 * side), "the margin of training, at prediction, too"


@recorded
def test_what_differs_from_the_published_crop(golden, photo):
    """Enlarged, only the half pixel differs; shrunk, the recorded crop holds detail finer than its pixels."""
    size = 256
    for name, aliased in (("upscale", False), ("downscale", True)):
        side = float(golden[f"{name}/size"])
        framing = reference_framing(tuple(golden[f"{name}/center"]), side)
        crop = warp(photo, framing.image_from_crop(size), size, outside="black")
        most, mean = grey_levels(crop, golden[f"{name}/patch"])
        assert (mean > 1) == aliased and (most > 6) == aliased
    truth = cv2.resize(photo, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA)
    box = np.array([0, 0, 480, 480])
    assert np.abs(cut_crop(photo, box, 120).astype(int) - truth[:120, :120]).max() <= 1
    sampled = reference_crop(photo, (240 - 0.5 + 2, 240 - 0.5 + 2), 480, 120)
    assert np.abs(sampled.astype(int) - truth[:120, :120]).mean() > 1
    # At equal centres the two crops show places half a crop pixel apart.
    centre, side = (310.0, 245.0), 300.0
    named = Framing((310.5 - 150, 245.5 - 150, 310.5 + 150, 245.5 + 150)).image_from_crop(size)
    apart = reference_framing(centre, side).image_from_crop(size)[:, 2] - named[:, 2]
    assert np.allclose(apart, -0.5 * side / size)


def test_a_crop_is_the_box_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    assert (cut_crop(image, np.array([10, 20, 42, 52]), 32) == image[20:52, 10:42]).all()
    halved = cut_crop(image, np.array([10, 20, 42, 52]), 16)
    mean = image[20:52, 10:42].reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(halved - mean).max() <= 1, "area average"
    beyond = cut_crop(image, np.array([-16, -16, 16, 16]), 32)
    assert (beyond[16:, 16:] == image[:16, :16]).all() and (beyond[:16, :16] == image[0, 0]).all()
    with pytest.raises(UserError, match="outside its image"):
        cut_crop(image, np.array([200, 0, 210, 10]), 16)


def test_boxes_of_whole_pixels_stay_square_and_near():
    for box in ([10.4, 20.6, 42.7, 52.9], [-3.3, 1.1, -3.1, 1.3]):
        whole = whole_pixel_box(np.array(box))
        assert (whole == np.round(whole)).all() and whole[2] - whole[0] == whole[3] - whole[1] >= 1
        assert np.abs(whole - box).max() <= 1
