"""Camera models, and the translation that fits best."""

from __future__ import annotations

import pytest
import torch

from regressor.geometry.camera_models import REFERENCE_FOCAL, camera_model, fit_translation
from tokenizer.body.camera import project
from tokenizer.engine.errors import UserError


def crop_camera(focal):
    return torch.tensor([[focal, 0, 0.1], [0, focal, -0.05], [0, 0, 1.0]])


@pytest.mark.parametrize("focal", [0.8, 3.0, REFERENCE_FOCAL])
def test_an_exact_camera_is_found_again(focal):
    draw = torch.Generator().manual_seed(0)
    points = 0.5 * torch.randn(6, 30, 3, generator=draw)
    translation = torch.tensor([0.2, -0.1, 2.5 * focal + 2]) + 0.2 * torch.randn(6, 3, generator=draw)
    seen = project(points + translation[:, None], crop_camera(focal))
    weight = (torch.rand(6, 30, generator=draw) > 0.5).double()
    seen = torch.where(weight[..., None] > 0, seen, 99.0)
    fitted = fit_translation(points, seen, weight, crop_camera(focal).expand(6, 3, 3))
    assert torch.allclose(fitted.float(), translation, rtol=1e-3, atol=1e-4)


def test_the_fit_is_least_in_squared_distance():
    draw = torch.Generator().manual_seed(1)
    points, camera = 0.4 * torch.randn(1, 20, 3, generator=draw), crop_camera(2.0)[None]
    target = project(points + torch.tensor([0.1, 0.2, 4.0]), camera) + 0.02 * torch.randn(1, 20, 2, generator=draw)
    weight = torch.ones(1, 20)

    def cost(translation):
        return float((project(points.double() + translation[:, None], camera.double()) - target).square().sum())

    best = fit_translation(points, target, weight, camera)
    for _ in range(20):
        assert cost(best + 0.01 * torch.randn(1, 3, generator=draw)) >= cost(best) - 1e-9


@pytest.mark.parametrize("spec", ["lens", "focal=", "focal=-1", "fov=200", "fov=x", "true=1"])
def test_other_cameras_are_told(spec):
    with pytest.raises(UserError, match="Unknown camera"):
        camera_model(spec)
