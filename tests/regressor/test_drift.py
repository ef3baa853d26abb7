"""Descents on 2D: they start at the truth, follow 2D down and leave it, unless the thresholds say stop."""

from __future__ import annotations

import pytest
import torch

from regressor.camera_models import camera_model
from regressor.drift import descend
from regressor.tals import TalsConfig
from tokenizer.body.skeleton import KEYPOINT_NAMES


@pytest.fixture
def follow(annotated_people, open_body, tokenizer):
    people = annotated_people(6)

    def follow(pose="free 6D", camera="focal=19.5", **options):
        options = {"steps": 25, **options}
        return descend(people, open_body, camera_model(camera), pose, tokenizer=tokenizer, **options)

    return follow


def test_free_rotations_leave_the_truth_as_2d_falls(follow):
    curve = follow()
    assert len(curve.mpjpe_mm) == len(curve.error_2d_px) == len(curve.pa_mpjpe_mm) == 26
    assert curve.mpjpe_mm[0] < 0.01 and curve.pa_mpjpe_mm[0] < 0.01, "they start exact"
    assert curve.error_2d_px[-1] < 0.5 * curve.error_2d_px[0]
    assert curve.mpjpe_mm[-1] > 5 and curve.pa_mpjpe_mm[-1] > 2


def test_through_the_true_camera_nothing_moves(follow):
    curve = follow(camera="true")
    assert max(curve.error_2d_px) < 0.05 and max(curve.mpjpe_mm) < 1


def test_thresholds_hold_back(follow):
    everything = dict.fromkeys(KEYPOINT_NAMES, 9.0)
    plain, half, none = (
        follow(tals=None if weight is None else TalsConfig(keypoints_2d=everything, weight=weight))
        for weight in (None, 0.05, 0.0)
    )
    assert max(none.mpjpe_mm) < 0.01, "below every threshold, and weight 0: they stay"
    assert 0.1 < half.mpjpe_mm[-1] < 0.8 * plain.mpjpe_mm[-1]
    assert half.error_2d_px[-1] > plain.error_2d_px[-1]


def test_tokens_start_near_their_reconstruction(follow, annotated_people, open_body, tokenizer):
    curve = follow("tokens", steps=3)
    pose = annotated_people(6)["body_pose"][:, :21]
    rebuilt = tokenizer.decode(tokenizer.encode(pose))
    joints, truth = (open_body.joints(values) for values in (rebuilt, pose))
    lost = 1000 * float((joints - truth).norm(dim=-1).mean())
    assert curve.pose == "tokens" and 0.3 * lost < curve.mpjpe_mm[0] < 2 * lost
    assert curve.error_2d_px[1] != curve.error_2d_px[0] and curve.mpjpe_mm[1] != curve.mpjpe_mm[0], "and move"


def test_the_sample_is_not_changed(annotated_people, open_body, tokenizer):
    people = annotated_people(2)
    before = {name: values.clone() for name, values in people.items()}
    descend(people, open_body, camera_model("reference"), "free 6D", tokenizer=tokenizer, steps=2)
    assert all(torch.equal(values, before[name]) for name, values in people.items())
