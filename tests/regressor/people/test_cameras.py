"""Cameras: what is given, what EXIF names, what is assumed, and what is refused."""

from __future__ import annotations

import math

import pytest

from regressor.datasets.exif import Lens
from regressor.geometry.camera import DEFAULT_FOV_DEG
from regressor.people.cameras import CameraOptions, parse_intrinsics
from tokenizer.engine.errors import UserError

WHERE = "me.jpg"


def focal_of(camera):
    assert camera.K[0, 0] == camera.K[1, 1]
    return float(camera.K[0, 0])


def test_given_cameras_are_taken_as_they_are():
    K = CameraOptions(intrinsics=(1000, 1100, 310, 250)).of_image(640, 480, Lens(28), WHERE).K
    assert K.tolist() == [[1000, 0, 310], [0, 1100, 250], [0, 0, 1]]
    camera = CameraOptions(focal_px=900).of_image(640, 480, Lens(28), WHERE)
    assert camera.K.tolist() == [[900, 0, 320], [0, 900, 240], [0, 0, 1]]
    assert camera.source == "focal length 900 px given" and not camera.assumed
    camera = CameraOptions(fov_deg=90).of_image(400, 300, Lens(28), WHERE)
    assert focal_of(camera) == pytest.approx(250) and camera.source == "diagonal field of view 90° given"


@pytest.mark.parametrize(("width", "height"), [(3600, 2400), (2400, 3600), (900, 600)])
def test_a_35_mm_equivalent_refers_to_the_diagonal_of_36_by_24_mm(width, height):
    """A 36 mm lens sees as many pixels across 36 mm as the longer side of a picture of 3:2 has."""
    camera = CameraOptions().of_image(width, height, Lens(36, (3600, 2400)), WHERE)
    assert focal_of(camera) == pytest.approx(max(width, height), rel=1e-6)
    assert camera.source == "EXIF: 36 mm on 35 mm film" and not camera.assumed


def test_exif_of_a_picture_that_was_cut_afterwards_is_not_taken():
    camera = CameraOptions().of_image(1000, 1000, Lens(36, (3600, 2400)), WHERE)
    assert camera.assumed and camera.source.endswith("EXIF is of a picture of another shape, before it was cut")
    assert not CameraOptions().of_image(1000, 1000, Lens(36), WHERE).assumed, "EXIF does not say"
    assert not CameraOptions().of_image(1000, 668, Lens(36, (3600, 2400)), WHERE).assumed, "rounded"


def test_without_anything_a_field_of_view_is_assumed():
    camera = CameraOptions().of_image(300, 400, None, WHERE)
    assert focal_of(camera) == pytest.approx(250 / math.tan(math.radians(DEFAULT_FOV_DEG) / 2))
    assert camera.assumed and camera.source == "assumed: diagonal field of view 55°"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"focal_px": 0}, "focal length is impossible"),
        ({"focal_px": float("nan")}, "focal length is impossible"),
        ({"intrinsics": (-5, 5, 1, 1)}, "focal length is impossible"),
        ({"fov_deg": 200}, "field of view is impossible"),
        ({"fov_deg": 60, "focal_px": 500}, "more than once; got --focal-px and --fov"),
    ],
)
def test_impossible_cameras_are_refused(given, says):
    with pytest.raises(UserError, match=says):
        CameraOptions(**given)


def test_intrinsics_of_another_image_are_refused():
    with pytest.raises(UserError, match=r"not of me\.jpg; got a principal point at 960,540 in an image of 640 × 480"):
        CameraOptions(intrinsics=(1000, 1000, 960, 540)).of_image(640, 480, None, WHERE)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "1,2,3,inf", "1,2,3,4,5"])
def test_intrinsics_are_four_numbers(text):
    assert parse_intrinsics("1000,1100, 320,240") == (1000, 1100, 320, 240)
    with pytest.raises(UserError, match="expected fx,fy,cx,cy in pixels"):
        parse_intrinsics(text)
