"""Crops, and what a crop can tell about orientation and depth."""

from __future__ import annotations

import math

import torch

from regressor.geometry.camera import (
    crop_camera_to_translation,
    crop_geometry,
    crop_intrinsics,
    pixels_to_crop,
    project_to_crop,
    ray_rotation,
    translation_to_crop_camera,
)
from tokenizer.body.camera import intrinsics, project

K = intrinsics(torch.tensor(500.0), 640, 480)
BOX = torch.tensor([100.0, 50.0, 300.0, 250.0])
POINTS = torch.tensor([[0.0, 0, 2], [0.4, -0.2, 2], [-1.0, 0.5, 5]])


def test_crop_units_run_over_the_box():
    corners = torch.tensor([[100.0, 50], [300, 250], [200, 150]])
    assert torch.allclose(pixels_to_crop(corners, BOX), torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0, 0]]))


def test_crop_intrinsics_project_straight_into_the_crop():
    straight = project(POINTS, crop_intrinsics(K, BOX, 128))
    assert torch.allclose(straight / 128 - 0.5, project_to_crop(POINTS, BOX, K), atol=1e-6)
    assert torch.equal(K[0], torch.tensor([500.0, 0, 320])), "the given K is not changed"


def test_ray_rotation_turns_the_axis_onto_the_box_centre_by_the_smallest_angle():
    turn = ray_rotation(BOX, K)
    ray = torch.nn.functional.normalize(torch.tensor([(200 - 320) / 500, (150 - 240) / 500, 1.0]), dim=0)
    assert torch.allclose(turn @ torch.tensor([0.0, 0, 1]), ray, atol=1e-6)
    assert torch.allclose(turn @ turn.T, torch.eye(3), atol=1e-6) and abs(float(torch.linalg.det(turn)) - 1) < 1e-6
    angle = math.acos((float(turn.trace()) - 1) / 2)
    assert abs(angle - math.acos(float(ray[2]))) < 1e-4
    centred = torch.tensor([270.0, 190, 370, 290])
    assert torch.allclose(ray_rotation(centred, K), torch.eye(3), atol=1e-7)


def test_crop_camera_and_translation_are_inverse_and_mean_what_they_say():
    translation = torch.tensor([[0.3, -0.2, 4.0], [-1.0, 0.5, 7.0]])
    camera = translation_to_crop_camera(translation, BOX, K)
    assert torch.allclose(crop_camera_to_translation(camera, BOX, K), translation, atol=1e-5)
    # 2 m at 5 m depth are 200 px: the side of the box, so s = 1; on the ray of its centre nothing is off.
    centre = torch.tensor([-120 / 500 * 5, -90 / 500 * 5, 5.0])
    assert torch.allclose(translation_to_crop_camera(centre, BOX, K), torch.tensor([1.0, 0, 0]), atol=1e-6)


def test_any_leading_batch_dimensions():
    boxes, cameras = BOX.expand(2, 3, 4), K.expand(2, 3, 3, 3)
    points = POINTS.expand(2, 3, 3, 3)
    assert project_to_crop(points, boxes, cameras).shape == (2, 3, 3, 2)
    assert torch.equal(project_to_crop(points, boxes, cameras)[1, 2], project_to_crop(POINTS, BOX, K))
    assert crop_geometry(boxes, cameras).shape == (2, 3, 3)
    assert ray_rotation(boxes, cameras).shape == crop_intrinsics(cameras, boxes, 64).shape == (2, 3, 3, 3)
