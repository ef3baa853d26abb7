"""A regressor that sees detected points in place of an image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regressor.config import BackboneConfig, DecoderConfig, HeadConfig, preset
from regressor.datasets.made_up import made_up_sample
from regressor.geometry.camera import project_to_crop
from regressor.losses.terms import regression_loss
from regressor.network.keypoint_encoder import NUM_FEATURES, PointEvidence
from regressor.network.model import build_regressor, evidence_of
from tokenizer.engine.errors import UserError


@pytest.fixture
def config(tiny_config):
    return replace(
        tiny_config,
        image_size=0,
        backbone=BackboneConfig(kind="keypoints", width=16, blocks=()),
        decoder=DecoderConfig(kind="mlp", width=16, blocks=1),
        head=HeadConfig(logits="free"),
        loss=preset("keypoints").loss,
    )


@pytest.fixture
def keypoint_regressor(config, tokenizer):
    torch.manual_seed(0)
    return build_regressor(config, tokenizer).eval()


@pytest.fixture
def people():
    return made_up_sample(4, 0)


def predict(regressor, sample, body, **changes):
    evidence = evidence_of(sample)._replace(**changes)
    with torch.no_grad():
        return regressor(evidence, box=sample["box"], K=sample["K"], body=body)


def test_a_prediction_has_the_same_form_as_that_of_an_image(keypoint_regressor, people, open_body):
    prediction = predict(keypoint_regressor, people, open_body)
    assert prediction.global_orient.shape == (4, 1, 3, 3) and prediction.body_pose.shape == (4, 23, 3, 3)
    assert prediction.token_ids.shape == (4, 6) and prediction.soft_argmax_keypoints is None
    assert prediction.camera_translation().shape == (4, 3)
    assert evidence_of(people).features(people["box"], people["K"]).shape == (4, NUM_FEATURES)


def test_the_body_is_put_onto_the_points(keypoint_regressor, people, open_body):
    """Points of the predicted body itself, seen from a known place, give that place back."""
    prediction = predict(keypoint_regressor, people, open_body)
    place = torch.tensor([0.2, -0.1, 5.0])
    _, points = open_body.detector_points(
        prediction.body_pose, root=prediction.global_orient[:, 0], betas=prediction.betas, translation=place
    )
    seen = project_to_crop(points, people["box"], people["K"])
    weights = torch.ones(4, 25, 1)
    # What the network answers depends on the points: only the place is looked at, of the pose it had before.
    from regressor.network.model import _camera_on_points

    camera = _camera_on_points(
        PointEvidence(torch.cat([seen, weights], -1), people["points_3d"], people["has_points_3d"]),
        people["box"],
        people["K"],
        open_body,
        prediction.body_pose,
        prediction.global_orient[:, 0],
        prediction.betas,
    )
    found = replace(prediction, camera=camera).camera_translation()
    assert (found - place).abs().max() < 5e-3


def test_unseen_points_and_absent_hints_tell_nothing(keypoint_regressor, people, open_body):
    points, hints = people["points_2d"].clone(), people["points_3d"].clone()
    points[:, 3, 2] = 0
    has = people["has_points_3d"].clone()
    has[:, 5] = False
    first = predict(keypoint_regressor, people, open_body, points=points, has_hints=has)
    points[:, 3, :2] += 0.3
    hints[:, 5] += 1
    second = predict(keypoint_regressor, people, open_body, points=points, hints=hints, has_hints=has)
    assert torch.equal(first.body_pose, second.body_pose) and torch.equal(first.camera, second.camera)


def test_nobody_seen_is_still_finite(keypoint_regressor, people, open_body):
    points = people["points_2d"] * torch.tensor([1.0, 1, 0])
    prediction = predict(keypoint_regressor, people, open_body, points=points)
    assert prediction.camera.isfinite().all() and prediction.body_pose.isfinite().all()


def test_the_loss_reaches_every_weight_but_the_cameras(config, tokenizer, people, open_body):
    regressor = build_regressor(config, tokenizer).train()
    prediction = regressor(evidence_of(people), box=people["box"], K=people["K"], body=open_body)
    terms = regression_loss(prediction, people, open_body, tokenizer, config.loss)
    torch.stack(list(terms.values())).sum().backward()
    idle = {name for name, p in regressor.network.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == {"camera.weight", "camera.bias"}


def test_evidence_of_the_other_kind_is_refused(keypoint_regressor, regressor, people, sample, open_body):
    where = {"box": people["box"], "K": people["K"]}
    with pytest.raises(UserError, match="sees 2D keypoints"):
        keypoint_regressor(torch.zeros(4, 3, 32, 32), **where, body=open_body)
    with pytest.raises(UserError, match="sees image crops"):
        regressor(evidence_of(people), box=sample["box"], K=sample["K"])
    with pytest.raises(UserError, match="no body"):
        keypoint_regressor(evidence_of(people), **where)
    with pytest.raises(UserError, match=r"\(4, 17, 3\)"):
        keypoint_regressor(PointEvidence(*(values[:, :17] for values in evidence_of(people))), **where, body=open_body)


@pytest.mark.parametrize(
    "change",
    [
        {"decoder": DecoderConfig(kind="pointing")},
        {"decoder": DecoderConfig(kind="mlp", width=32)},
        {"backbone": BackboneConfig(width=8, blocks=(1, 1, 1), channels=8)},
    ],
)
def test_parts_that_do_not_fit_are_refused(config, tokenizer, change):
    with pytest.raises(UserError, match=r"keypoints|width|multiple"):
        build_regressor(replace(config, **change), tokenizer)
