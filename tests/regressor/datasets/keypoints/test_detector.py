"""The simulated detector errs by as much as it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from simulations import EXACT

from regressor.datasets.keypoints.detector import HAS_HINT, detect_points, landmarks_3d
from regressor.datasets.keypoints.views import Draw
from tokenizer.body.keypoints import DETECTOR_POINTS

COUNT = 2000
CALM = replace(EXACT, error=0.02)
RAYS = torch.rand(25, 2, generator=torch.Generator().manual_seed(0)).repeat(COUNT, 1, 1) * 2 - 1
INSIDE = torch.ones(COUNT, 25, dtype=torch.bool)


def row(name):
    return DETECTOR_POINTS.index(name)


def test_a_sure_point_errs_by_the_given_deviation():
    found = detect_points(RAYS, INSIDE, CALM, Draw(1))
    error = found[..., :2] - RAYS
    assert error[:, row("left_shoulder")].std() == pytest.approx(0.02, rel=0.05)
    assert error[:, row("nose")].mean() == pytest.approx(0, abs=0.002)
    wrist, index = error[:, row("left_wrist"), 0], error[:, row("left_index"), 0]
    assert torch.corrcoef(torch.stack([wrist, index]))[0, 1] > 0.5  # a hand errs as a whole
    assert torch.corrcoef(torch.stack([wrist, error[:, row("nose"), 0]]))[0, 1].abs() < 0.1


def test_unsure_points_err_more():
    found = detect_points(RAYS, INSIDE, replace(CALM, error_unsure=0.2, hidden_limb=0.5), Draw(1))
    error, confidence = (found[..., :2] - RAYS).norm(dim=-1), found[..., 2]
    known = confidence > 0
    assert error[known & (confidence < 0.3)].mean() > 4 * error[confidence > 0.9].mean()


def test_what_is_outside_the_image_is_not_sure():
    inside = INSIDE.clone()
    inside[:, row("left_ankle")] = False
    confidence = detect_points(RAYS, inside, CALM, Draw(1))[..., 2]
    assert confidence[:, row("left_ankle")].max() <= 0.3
    assert (confidence[:, row("left_ankle")] == 0).float().mean() > 0.5
    assert confidence[:, row("right_ankle")].median() > 0.9


def test_limbs_are_swapped_hidden_and_dropped_as_often_as_asked():
    left, right = row("left_ankle"), row("right_ankle")
    swapped = detect_points(RAYS, INSIDE, replace(CALM, swaps=0.3, error=0), Draw(1))
    share = (swapped[:, left, :2] - RAYS[:, right]).abs().sum(1).lt(1e-6).float().mean()
    assert share == pytest.approx(0.3, abs=0.04)
    hidden = detect_points(RAYS, INSIDE, replace(CALM, hidden_legs=0.4), Draw(1))[..., 2]
    assert (hidden[:, left] < 0.5).float().mean() == pytest.approx(0.4 + 0.2 - 0.08, abs=0.05)
    dropped = detect_points(RAYS, INSIDE, replace(CALM, dropped=0.2), Draw(1))[..., 2]
    assert (dropped[:, row("nose")] == 0).float().mean() == pytest.approx(0.2, abs=0.04)


def test_some_detectors_have_neither_hands_nor_feet():
    confidence = detect_points(RAYS, INSIDE, replace(CALM, coco=1.0), Draw(1))[..., 2]
    without = (confidence == 0).all(0)
    assert {name for name, gone in zip(DETECTOR_POINTS, without.tolist(), strict=True) if gone} == {
        f"{side}_{part}" for side in ("left", "right") for part in ("pinky", "index", "heel", "toes")
    }


def test_landmarks_are_about_the_hips_and_not_of_hands_and_feet():
    points = torch.randn(COUNT, 25, 3, generator=torch.Generator().manual_seed(0))
    found, has = landmarks_3d(points, torch.ones(COUNT, 25), CALM, Draw(1))
    assert torch.equal(has, HAS_HINT.expand(COUNT, 25))
    hips = (points[:, row("left_hip")] + points[:, row("right_hip")]) / 2
    truth = points - hips[:, None]
    cosine = torch.cosine_similarity(found[:, row("nose")], truth[:, row("nose")], dim=-1)
    assert cosine.mean() > 0.97  # turned by a few degrees, scaled a little
    assert not found[:, row("left_heel")].any()
    nobody, has = landmarks_3d(points, torch.ones(COUNT, 25), replace(CALM, hints=0.0), Draw(1))
    assert not nobody.any() and not has.any()
    rough, _ = landmarks_3d(points, torch.ones(COUNT, 25), replace(CALM, hint_error=1.0), Draw(1))
    apart = (rough - found)[:, row("left_wrist")]
    assert apart[:, 2].std() > 1.5 * apart[:, 0].std()  # depth is the weak side
