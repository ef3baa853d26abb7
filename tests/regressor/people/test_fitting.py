"""Fitting brings a body to what was detected, and leaves it alone where nothing was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from simulations import EXACT

from regressor.config import BackboneConfig, DecoderConfig, HeadConfig
from regressor.datasets.keypoints.samples import simulate
from regressor.geometry.camera import project_to_crop
from regressor.network.keypoint_encoder import PointEvidence
from regressor.network.model import build_regressor, evidence_of
from regressor.people.fitting import FitOptions, fit, geman_mcclure
from tokenizer.body.metrics import pa_mpjpe
from tokenizer.body.rotations import geodesic_distance, perturb_rotations
from tokenizer.engine.errors import UserError

QUICK = FitOptions(steps=30)


def keypoint_regressor(tiny_config, tokenizer, **head):
    torch.manual_seed(0)
    config = replace(
        tiny_config,
        image_size=0,
        backbone=BackboneConfig(kind="keypoints", width=16, blocks=()),
        decoder=DecoderConfig(kind="mlp", width=16, blocks=1),
        head=HeadConfig(logits="free", **head),
    )
    return build_regressor(config, tokenizer).eval()


@pytest.fixture
def people(open_body):
    return simulate(
        open_body, 0.15 * torch.randn(40, 21, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6), EXACT, 0
    )


def predicted(regressor, sample, body, evidence=None):
    with torch.no_grad():
        return regressor(evidence or evidence_of(sample), box=sample["box"], K=sample["K"], body=body)


def in_2d(prediction, sample, body):
    _, points = body.detector_points(
        prediction.body_pose,
        root=prediction.global_orient[:, 0],
        betas=prediction.betas,
        translation=prediction.camera_translation(),
    )
    seen = project_to_crop(points, sample["box"], sample["K"])
    return (seen - sample["points_2d"][..., :2]).norm(dim=-1).mean()


@pytest.mark.parametrize("space", ["tokens", "rot6d"])
def test_a_fitted_body_agrees_with_its_points(space, tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer)
    first = predicted(regressor, people, open_body)
    fitted = fit(regressor, first, evidence_of(people), open_body, replace(QUICK, space=space))
    assert in_2d(fitted, people, open_body) < 0.8 * in_2d(first, people, open_body)
    identity = fitted.body_pose @ fitted.body_pose.transpose(-1, -2)
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-4)
    assert not fitted.betas.requires_grad and torch.equal(fitted.K, first.K)


def test_a_start_near_the_truth_comes_nearer(tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer)
    generator = torch.Generator().manual_seed(0)
    start = replace(
        predicted(regressor, people, open_body),
        global_orient=perturb_rotations(people["global_orient"][:, None], 15, generator),
        body_pose=perturb_rotations(people["body_pose"], 12, generator),
    )
    fitted = fit(regressor, start, evidence_of(people), open_body, replace(QUICK, space="rot6d"))
    truth = open_body.joints(people["body_pose"], root=people["global_orient"], betas=people["betas"])
    before, after = (pa_mpjpe(prediction.joints(open_body), truth).mean() for prediction in (start, fitted))
    assert after < 0.8 * before
    place = people["translation"]
    assert (fitted.camera_translation() - place).norm(dim=1).mean() < 0.1 * place.norm(dim=1).mean()


def test_people_of_a_batch_are_fitted_as_if_alone(tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer)
    first = predicted(regressor, people, open_body)
    together = fit(regressor, first, evidence_of(people), open_body, QUICK)
    one = {name: values[2:3] for name, values in people.items()}
    alone = fit(regressor, predicted(regressor, one, open_body), evidence_of(one), open_body, QUICK)
    assert geodesic_distance(together.body_pose[2:3], alone.body_pose).max() < 0.02


def test_without_evidence_the_pose_stays(tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer)
    nothing = PointEvidence(
        people["points_2d"] * torch.tensor([1.0, 1, 0]), people["points_3d"], torch.zeros_like(people["has_points_3d"])
    )
    first = predicted(regressor, people, open_body, nothing)
    fitted = fit(regressor, first, nothing, open_body, QUICK)
    assert geodesic_distance(fitted.body_pose, first.body_pose).max() < 0.02
    assert fitted.camera.isfinite().all()


def test_errors_that_an_assumed_camera_explains_hardly_count(tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer)
    first = predicted(regressor, people, open_body)
    loose = replace(QUICK, tolerance=5.0, hints=0.0, tolerated=0.0)
    known = fit(regressor, first, evidence_of(people), open_body, loose)
    assumed = fit(regressor, first, evidence_of(people), open_body, loose, assumed_camera=True)
    assert in_2d(known, people, open_body) < 0.7 * in_2d(assumed, people, open_body)
    assert geodesic_distance(assumed.body_pose, first.body_pose).max() < 0.05


def test_robust_errors_are_squares_when_small_and_bounded_when_large():
    values = geman_mcclure(torch.tensor([1e-6, 1e6]), 0.1)
    assert values[0] == pytest.approx(1e-6, rel=1e-3) and values[1] == pytest.approx(0.01, rel=1e-3)


def test_a_head_without_tokens_is_fitted_in_6d_alone(tiny_config, tokenizer, people, open_body):
    regressor = keypoint_regressor(tiny_config, tokenizer, pose="rot6d")
    first = predicted(regressor, people, open_body)
    with pytest.raises(UserError, match="space='rot6d'"):
        fit(regressor, first, evidence_of(people), open_body, QUICK)
    fitted = fit(regressor, first, evidence_of(people), open_body, replace(QUICK, space="rot6d"))
    assert in_2d(fitted, people, open_body) < in_2d(first, people, open_body)
