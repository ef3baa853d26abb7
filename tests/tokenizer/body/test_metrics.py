"""Errors of points: hand-written values, invariance, degenerate and broken input."""

from __future__ import annotations

import pytest
import torch

from tokenizer.body import metrics
from tokenizer.body.rotations import axis_angle_to_matrix

SIDE = torch.tensor([-1.0, 1.0, 1.0])


def test_metrics_golden_and_invariant():
    target = torch.randn(5, 14, 3, dtype=torch.float64)
    assert metrics.mpjpe(target + torch.tensor([3.0, 4.0, 0.0]), target).tolist() == pytest.approx([5.0] * 5)
    turn = axis_angle_to_matrix(torch.tensor([0.4, -1.0, 2.0], dtype=torch.float64))
    moved = 1.7 * target @ turn.T + torch.tensor([1.0, 2.0, 3.0])
    assert float(metrics.pa_mpjpe(moved, target).max()) < 1e-9
    reflected = target * SIDE
    assert float(metrics.pa_mpjpe(reflected, target).min()) > 0.05, "a reflection is not forgiven"
    assert torch.isfinite(metrics.pa_mpjpe(torch.zeros(2, 5, 3), torch.randn(2, 5, 3))).all()


@pytest.mark.parametrize("shape", ["point", "line", "plane", "speck"])
def test_aligning_degenerate_points_stays_finite(shape):
    points = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    source = (
        points
        * {
            "point": torch.zeros(3),
            "line": torch.tensor([1.0, 0, 0]),
            "plane": torch.tensor([1.0, 1, 0]),
            "speck": torch.full((3,), 1e-20),
        }[shape]
    )
    assert torch.isfinite(metrics.pa_mpjpe(source, points)) and torch.isfinite(metrics.pa_mpjpe(points, source))
    assert float(metrics.pa_mpjpe(points, source * 0)) < 1e-6


def test_one_broken_sample_does_not_spoil_a_batch():
    points = torch.randn(3, 6, 3)
    broken = points.clone()
    broken[1, 2, 0] = torch.nan
    assert metrics.pa_mpjpe(broken, points).isnan().tolist() == [False, True, False]


def test_golden_alignment_by_hand():
    """A square of side 2 onto one of side 4, turned by 90° and moved; one corner out by 1 in the flat's normal."""
    square = torch.tensor([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    target = 2 * torch.stack([-square[:, 1], square[:, 0], square[:, 2]], -1) + torch.tensor([5.0, 6.0, 7.0])
    assert torch.allclose(metrics.similarity_align(square, target), target, atol=1e-5)
    assert float(metrics.mpjpe(square, target)) == pytest.approx(float((square - target).norm(dim=-1).mean()))
    lifted = target + torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]])
    assert float(metrics.pa_mpjpe(square, lifted)) == pytest.approx(1.0, abs=1e-5), "no turn flattens a saddle"
    assert float(metrics.pve(target, lifted)) == pytest.approx(1.0)
