"""Boxes."""

from __future__ import annotations

import torch

from regressor.geometry.camera import (
    square_box,
)


def test_square_box_keeps_centre_and_longer_side():
    assert torch.allclose(square_box(torch.tensor([10.0, 20, 30, 60]), 1.5), torch.tensor([-10.0, 10, 50, 70]))
