"""Thresholds: what is below counts little, what is above counts in full; pseudo labels alone are loosened in 3D."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from regressor.config import LossConfig, TalsConfig
from regressor.losses import terms as losses
from regressor.losses.tals import keypoints_2d_scale, loss_scales, rotations_scale
from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import JOINT_NAMES, KEYPOINT_NAMES, index, keypoint_index
from tokenizer.engine.config import from_dict, to_dict
from tokenizer.engine.errors import UserError

TALS = TalsConfig(
    keypoints_2d=dict.fromkeys(KEYPOINT_NAMES, 0.01),
    rotations={"left_knee": 0.5, "pelvis": 0.2},
    weight=0.1,
)


def test_keypoints_golden():
    """Distances 0.05, 0.15 and exactly 0.1: only the first is below √0.01; names without threshold always count."""
    target = torch.zeros(44, 2)
    predicted = torch.zeros(44, 2)
    predicted[:3, 0] = torch.tensor([0.05, 0.15, 0.1])
    assert keypoints_2d_scale(predicted, target, TALS)[:3].tolist() == pytest.approx([0.1, 1.0, 1.0])
    assert keypoints_2d_scale(predicted, target, replace(TALS, keypoints_2d={"neck": 0.03})).tolist()[:3] == [
        1.0,
        pytest.approx(0.1),
        1.0,
    ]
    trusted = keypoints_2d_scale(predicted, target, TALS, trust=torch.full((44,), 0.4))
    assert trusted[:3].tolist() == pytest.approx([0.1, 0.1, 0.1])
    batched = keypoints_2d_scale(predicted.expand(2, 3, 44, 2), target, TALS)
    assert batched.shape == (2, 3, 44)


def test_rotations_golden():
    turned = axis_angle_to_matrix(torch.tensor([[0.0, 0.4, 0.0], [0.0, 0.6, 0.0]]))
    still = torch.eye(3).expand(2, 3, 3)
    assert rotations_scale(turned, still, ["left_knee", "left_knee"], TALS).tolist() == pytest.approx([0.1, 1.0])
    assert rotations_scale(turned, still, ["right_knee", "spine1"], TALS).tolist() == [1.0, 1.0]


def scene(true_3d):
    count = len(true_3d)
    eye = torch.eye(3)
    sample = {
        "keypoints_2d": torch.cat([torch.zeros(count, 44, 2), torch.ones(count, 44, 1)], -1),
        "global_orient": eye.repeat(count, 1, 1),
        "body_pose": eye.repeat(count, 23, 1, 1),
        "true_3d": torch.tensor(true_3d),
    }
    return sample, torch.zeros(count, 44, 2)


def test_3d_is_loosened_on_pseudo_labels_alone():
    sample, pixels = scene([True, False])
    sample["keypoints_2d"][1, keypoint_index("nose"), 2] = 0.0
    scales = loss_scales(sample["global_orient"], sample["body_pose"], pixels, sample, TALS)
    knee = index("left_knee") - 1
    assert scales.keypoints_2d.unique().tolist() == pytest.approx([0.1])
    assert scales.orientation.tolist() == pytest.approx([1.0, 0.1])
    assert scales.body_pose[:, knee].tolist() == pytest.approx([1.0, 0.1])
    assert scales.body_pose[1].sum() == pytest.approx(22.1)
    assert scales.keypoints_3d[0].unique().tolist() == [1.0]
    assert scales.keypoints_3d[1, keypoint_index("nose")] == 1.0, "its 2D is unknown and says nothing"
    assert scales.keypoints_3d[1, keypoint_index("neck")] == pytest.approx(0.1)
    del sample["true_3d"]
    scales = loss_scales(sample["global_orient"], sample["body_pose"], pixels, sample, TALS)
    assert scales.orientation.tolist() == [1.0, 1.0], "annotation is taken for true where nothing is said"


def test_no_thresholds_change_nothing_and_give_the_plain_gradient():
    predicted = (0.02 * torch.randn(2, 44, 2, generator=torch.Generator().manual_seed(0))).requires_grad_()
    target = torch.cat([torch.zeros(2, 44, 2), torch.ones(2, 44, 1)], -1)
    plain = losses.keypoints_2d_loss(predicted, target)
    off = losses.keypoints_2d_loss(
        predicted, target, scale=keypoints_2d_scale(predicted, target[..., :2], TalsConfig())
    )
    on = losses.keypoints_2d_loss(predicted, target, scale=keypoints_2d_scale(predicted, target[..., :2], TALS))
    assert torch.equal(plain, off)
    assert float(on.detach()) == pytest.approx(0.1 * float(plain.detach())), "a scale of all is no mean of less"
    (gradient,) = torch.autograd.grad(on, predicted)
    (full,) = torch.autograd.grad(plain, predicted)
    assert torch.allclose(gradient, 0.1 * full)


def test_terms_of_a_training_step(regressor, sample, open_body, tokenizer):
    """With TALS, pseudo labels: positions of joints, and tokens, stop counting; measured data keep every 3D term."""
    from regressor.network.model import normalise

    regressor.eval()
    prediction = regressor(normalise(sample["image"]), box=sample["box"], K=sample["K"])
    config = LossConfig(keypoints_3d_weight=1.0, vertices_weight=1.0)
    loose = replace(
        config,
        tals=TalsConfig(
            keypoints_2d=dict.fromkeys(KEYPOINT_NAMES, 9.0),
            rotations=dict.fromkeys(JOINT_NAMES, 4.0),
            weight=0.1,
        ),
    )
    plain = losses.regression_loss(prediction, sample, open_body, tokenizer, config)
    measured = losses.regression_loss(prediction, sample, open_body, tokenizer, loose)
    pseudo = losses.regression_loss(
        prediction, {**sample, "true_3d": torch.zeros(4, dtype=torch.bool)}, open_body, tokenizer, loose
    )
    for name, term in plain.items():
        kept = 0.1 if name == "keypoints_2d" else 1.0
        assert float(measured[name].detach()) == pytest.approx(kept * float(term.detach()), rel=1e-4), name
        kept = {
            "keypoints_2d": 0.1,
            "keypoints_3d": 0.1,
            "orientation": 0.1,
            "body_pose": 0.1,
            "joints": 0,
            "body_joints": 0,
            "vertices": 0,
            "token": 0,
        }.get(name, 1.0)
        assert float(pseudo[name].detach()) == pytest.approx(kept * float(term.detach()), rel=1e-4), name


def test_thresholds_go_through_json_and_refuse_nonsense():
    assert from_dict(TalsConfig, to_dict(TALS)) == TALS
    assert TALS.on and not TalsConfig().on
    for wrong, says in (
        ({"keypoints_2d": {"noze": 0.1}}, "unknown keypoint; got noze"),
        ({"rotations": {"nose": 0.1}}, "unknown joint"),
        ({"rotations": {"neck": -0.1}}, "impossible joint threshold; got neck -0.1"),
        ({"keypoints_2d": {"nose": math.nan}}, "impossible keypoint threshold"),
        ({"weight": 2.0}, "impossible weight"),
    ):
        with pytest.raises(UserError, match=says):
            TalsConfig(**wrong)
