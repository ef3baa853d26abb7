"""The pinhole camera, by hand."""

from __future__ import annotations

import torch

from tokenizer.body.camera import intrinsics, project

K = intrinsics(torch.tensor(500.0), 640, 480)
POINTS = torch.tensor([[0.0, 0, 2], [0.4, -0.2, 2], [-1.0, 0.5, 5]])


def test_golden_projection():
    assert torch.equal(K, torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))
    assert torch.allclose(project(POINTS, K), torch.tensor([[320.0, 240], [420, 190], [220, 290]]))


def test_points_at_or_behind_the_camera_stay_finite():
    behind = torch.tensor([[0.1, 0.1, 0.0], [0.1, 0.1, -3.0]])
    assert torch.isfinite(project(behind, K)).all()
