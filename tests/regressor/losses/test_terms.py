"""Losses: hand-written values, what is not known does not count, nothing given is changed."""

from __future__ import annotations

import math

import pytest
import torch

from regressor.losses import terms as losses
from tokenizer.body.rotations import axis_angle_to_matrix


def turn_z(*angles):
    return axis_angle_to_matrix(torch.tensor([[0.0, 0.0, angle] for angle in angles]))


def test_rotation_loss_golden():
    """A turn by 90° moves four of nine entries by one: mean square 4/9, angle π/2."""
    predicted, target = turn_z(math.pi / 2, 1.0), turn_z(0.0, 0.0)
    valid = torch.tensor([True, False])
    assert float(losses.rotation_loss(predicted, target, valid)) == pytest.approx(4 / 9, abs=1e-6)
    assert float(losses.rotation_loss(predicted, target, valid, "geodesic")) == pytest.approx(math.pi / 2, abs=1e-5)


def test_joints_loss_golden():
    target = torch.zeros(2, 3, 3)
    predicted = target.clone()
    predicted[0, 0] = torch.tensor([3.0, 4.0, 0.0])
    predicted[1] = 100.0
    weight = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert float(losses.joints_loss(predicted, target, weight)) == pytest.approx(2.5, abs=1e-3)


def test_keypoints_3d_are_relative_to_the_pelvis_and_to_its_confidence():
    target = torch.zeros(2, 3, 4)
    target[..., 3] = 1.0
    predicted = torch.ones(2, 3, 3)
    predicted[:, 2, 0] += 0.3
    assert float(losses.keypoints_3d_loss(predicted, target, 0)) == pytest.approx(0.1, abs=1e-3)
    target[:, 0, 3] = 0.0
    assert float(losses.keypoints_3d_loss(predicted, target, 0)) == 0.0


def test_keypoints_2d_loss_golden():
    target = torch.zeros(1, 4, 3)
    target[0, :, 2] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    target[0, 3, :2] = math.nan
    predicted = torch.tensor([[[0.1, -0.2], [0.0, 0.0], [9.0, 9.0], [0.0, 0.0]]])
    assert float(losses.keypoints_2d_loss(predicted, target)) == pytest.approx(0.15, abs=1e-6)
    assert float(losses.keypoints_2d_loss(1e9 * torch.ones(1, 4, 2), target)) == pytest.approx(2.0), "capped"


def test_token_cross_entropy_golden():
    """Two factors of 2 and 4 digits: even logits cost log 2 + log 4 a token; sure and right ones nothing."""
    digits = [torch.tensor([[0, 1], [1, 0]]), torch.tensor([[3, 0], [2, 1]])]
    even = [torch.zeros(2, 2, 2), torch.zeros(2, 2, 4)]
    everyone = torch.tensor([True, True])
    assert float(losses.token_cross_entropy(even, digits, everyone)) == pytest.approx(math.log(8))
    sure = [60.0 * torch.nn.functional.one_hot(d, n).float() for d, n in zip(digits, (2, 4), strict=True)]
    assert float(losses.token_cross_entropy(sure, digits, everyone)) == pytest.approx(0.0, abs=1e-6)
    wrong = [sure[0].clone(), sure[1]]
    wrong[0][1] = wrong[0][1].flip(-1)
    assert float(losses.token_cross_entropy(wrong, digits, torch.tensor([True, False]))) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.token_cross_entropy(wrong, digits, everyone)) == pytest.approx(30.0, rel=1e-4)
    assert float(losses.token_cross_entropy(sure, digits, everyone, label_smoothing=0.1)) > 1.0


def test_nothing_valid_is_zero_with_zero_gradient_even_over_nan():
    predicted = torch.ones(2, 5, 3, requires_grad=True)
    loss = losses.joints_loss(predicted, torch.full((2, 5, 3), math.nan), torch.zeros(2, dtype=torch.bool))
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert not predicted.grad.any()


def test_terms_respect_what_is_known_and_change_nothing(regressor, sample, open_body, tokenizer):
    from regressor.config import LossConfig
    from regressor.network.model import normalise

    before = {name: values.clone() for name, values in sample.items()}
    config = LossConfig(keypoints_3d_weight=1.0)
    regressor.eval()
    prediction = regressor(normalise(sample["image"]), box=sample["box"], K=sample["K"])
    full = losses.regression_loss(prediction, sample, open_body, tokenizer, config)
    assert set(full) == {
        "orientation",
        "body_pose",
        "joints",
        "body_joints",
        "keypoints_3d",
        "keypoints_2d",
        "soft_argmax",
        "betas",
        "token",
    }
    assert all(torch.equal(values, before[name]) for name, values in sample.items())

    unknown = dict(sample)
    for name in ("global_orient", "body_pose", "betas"):
        unknown[f"has_{name}"] = torch.zeros_like(sample[f"has_{name}"])
        unknown[name] = torch.full_like(sample[name], math.nan)
    terms = losses.regression_loss(prediction, unknown, open_body, tokenizer, config)
    for name in ("orientation", "body_pose", "joints", "body_joints", "betas", "token"):
        assert float(terms[name].detach()) == 0.0, name
    for name in ("keypoints_2d", "keypoints_3d", "soft_argmax"):
        assert torch.allclose(terms[name], full[name]), name

    half = dict(sample)
    half["has_body_pose"] = torch.arange(len(sample["image"])) < 2
    first = {name: values[:2] for name, values in sample.items()}
    prediction_of_two = regressor(normalise(first["image"]), box=first["box"], K=first["K"])
    of_two = losses.regression_loss(prediction_of_two, first, open_body, tokenizer, config)
    terms = losses.regression_loss(prediction, half, open_body, tokenizer, config)
    for name in ("body_pose", "joints", "body_joints", "token"):
        assert torch.allclose(terms[name], of_two[name], atol=1e-5), name


def test_a_perfect_prediction_costs_nothing(sample, open_body, tokenizer):
    from regressor.config import LossConfig
    from regressor.geometry.camera import translation_to_crop_camera
    from regressor.network.prediction import Prediction

    camera = translation_to_crop_camera(sample["translation"], sample["box"], sample["K"])
    perfect = Prediction(
        sample["global_orient"][:, None], sample["body_pose"], sample["betas"], camera, sample["box"], sample["K"]
    )
    terms = losses.regression_loss(perfect, sample, open_body, tokenizer, LossConfig(keypoints_3d_weight=1.0))
    assert set(terms) == {"orientation", "body_pose", "joints", "body_joints", "keypoints_3d", "keypoints_2d", "betas"}
    for name, term in terms.items():
        assert float(term) < 2e-3, name
