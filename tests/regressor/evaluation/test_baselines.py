"""Baselines that look at no image."""

from __future__ import annotations

import torch

from regressor.evaluation.baselines import chordal_mean, training_means
from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance


def test_chordal_mean_of_opposite_turns_is_their_middle():
    turns = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.4], [0.0, 0.0, -0.2]]))
    assert torch.allclose(chordal_mean(turns), axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.1])), atol=1e-6)
    spread = axis_angle_to_matrix(torch.randn(50, 4, 3))
    mean = chordal_mean(spread)
    assert torch.allclose(mean @ mean.transpose(-1, -2), torch.eye(3).expand(4, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(mean), torch.ones(4), atol=1e-5)
    cost = (mean - spread).square().sum()
    for _ in range(10):
        nearby = mean @ axis_angle_to_matrix(0.05 * torch.randn(4, 3))
        assert (nearby - spread).square().sum() > cost


def test_baselines_know_nothing_of_the_split_they_are_judged_on(annotated_people, open_body):
    train = annotated_people(6)
    means = training_means([train], open_body)
    assert means.joints.shape == (24, 3) and not means.joints[0].any()
    assert float(geodesic_distance(means.orientation, chordal_mean(train["global_orient"]))) < 1e-4
