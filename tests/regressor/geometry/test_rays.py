"""Directions about the viewing ray of a box, and the place that fits them."""

from __future__ import annotations

import math

import pytest
import torch

from regressor.geometry.camera import pixels_to_crop, ray_rotation
from regressor.geometry.rays import box_of_points, half_extent, place_on_rays, rays_of_points
from tokenizer.body.camera import intrinsics, project

K = intrinsics(torch.tensor(800.0), 1000, 600)


def test_the_box_is_a_square_around_the_confident_points():
    points = torch.tensor([[10.0, 20], [50, 100], [30, 60], [30, 40], [900, 900]])
    box = box_of_points(points, torch.tensor([1.0, 1, 1, 1, 0.1]))
    assert box.tolist() == [-10, 20, 70, 100]
    everybody = box_of_points(points, torch.tensor([0.1, 0.1, 0, 0, 0]))
    assert everybody.tolist() == [-10, 20, 70, 100]  # where few are sure, all that are known
    unknown = box_of_points(points, torch.zeros(5))
    assert unknown.tolist() == [10, 15, 900, 905]


def test_a_single_point_still_has_a_box_of_a_size():
    box = box_of_points(torch.tensor([[5.0, 7]]), torch.ones(1))
    assert (box[2:] - box[:2]).tolist() == [2, 2]


def test_rays_of_a_box_on_the_axis_are_x_over_z():
    box = torch.tensor([400.0, 200, 600, 400])
    points = torch.tensor([[500.0, 300], [580, 300], [500, 220]])
    rays = rays_of_points(pixels_to_crop(points, box), box, K)
    assert torch.allclose(rays, torch.tensor([[0.0, 0], [0.1, 0], [0, -0.1]]), atol=1e-6)
    assert half_extent(box, K) == pytest.approx(100 / 800)


def test_rays_turn_with_the_ray_of_the_box():
    """What is straight ahead along the ray of the box is at zero, and a degree beside it is a degree."""
    box = torch.tensor([850.0, 200, 950, 300])
    turn = ray_rotation(box, K)
    angle = math.radians(3)
    directions = torch.tensor([[0.0, 0, 1], [math.sin(angle), 0, math.cos(angle)]]) @ turn.T
    pixels = project(5 * directions, K)
    rays = rays_of_points(pixels_to_crop(pixels, box), box, K)
    assert torch.allclose(rays, torch.tensor([[0.0, 0], [math.tan(angle), 0]]), atol=1e-5)


def test_place_is_found_exactly_from_exact_rays():
    points = torch.randn(6, 25, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    place = torch.tensor([0.3, -0.2, 6.0])
    seen = points + place
    rays = seen[..., :2] / seen[..., 2:]
    weights = torch.rand(6, 25, generator=torch.Generator().manual_seed(1))
    assert (place_on_rays(points, rays, weights) - place).norm(dim=-1).max() < 5e-3


def test_unsure_points_hardly_count_and_nobody_is_in_the_camera():
    points = torch.randn(25, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    seen = points + torch.tensor([0.0, 0, 5])
    rays = seen[:, :2] / seen[:, 2:]
    rays[3] += 1.0
    weights = torch.ones(25)
    weights[3] = 0
    assert (place_on_rays(points, rays, weights) - torch.tensor([0.0, 0, 5])).norm() < 5e-3
    assert place_on_rays(points, 100 * rays, weights)[2] == pytest.approx(0.3)
