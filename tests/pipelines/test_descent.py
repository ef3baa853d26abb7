"""Descents on 2D: they start at the truth, follow 2D down and leave it, unless the thresholds say stop."""

from __future__ import annotations

import pytest
import torch

from pipelines import descent as experiment
from pipelines.descent import Curve, best_rate, descend
from regressor.config import TalsConfig
from regressor.geometry.camera_models import camera_model
from tokenizer.body.skeleton import KEYPOINT_NAMES


@pytest.fixture
def follow(annotated_people, open_body, tokenizer):
    people = annotated_people(6)

    def follow(pose="free 6D", camera="focal=19.5", **options):
        options = {"steps": 25, "rate": {"free 6D": 0.2, "tokens": 80.0}[pose], **options}
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
    descend(people, open_body, camera_model("reference"), "free 6D", tokenizer=tokenizer, rate=0.1, steps=2)
    assert all(torch.equal(values, before[name]) for name, values in people.items())


def test_the_orientation_moves_alike_in_both_spaces(follow):
    """With a pose that stands still, all that 2D can bend is the orientation."""
    still = [follow(pose, rate=0.0, steps=5) for pose in ("free 6D", "tokens")]
    assert still[0].pa_mpjpe_mm[-1] < 0.01 and still[0].mpjpe_mm[-1] > 1
    assert still[1].pa_mpjpe_mm[-1] == pytest.approx(still[1].pa_mpjpe_mm[0], abs=1e-3)
    assert still[1].mpjpe_mm[-1] != still[1].mpjpe_mm[0]


def test_the_rate_is_the_one_that_fits_2d_best(annotated_people, open_body, tokenizer, monkeypatch):
    ends = {0.05: 0.9, 0.1: 0.5, 0.2: float("nan")}
    monkeypatch.setattr(experiment, "descend", lambda *_, rate, **__: Curve("free 6D", "plain", [1.0, ends[rate]]))
    seen = []
    fastest = best_rate(
        annotated_people(1), open_body, camera_model("true"), "free 6D", tokenizer=tokenizer, progress=seen.append
    )
    assert fastest == 0.1 and seen == [0, 1, 2]


def test_errors_at_an_equal_2d_error_lie_between_steps():
    curve = Curve("tokens", "plain", [3.0, 1.0, 1.5, 0.5], [0.0, 20.0, 25.0, 40.0], [0.0, 10.0, 11.0, 30.0])
    assert curve.at(2.0) == (10.0, 5.0), "the first time, halfway"
    assert curve.at(1.0) == (20.0, 10.0) and curve.at(0.75) == (36.25, 25.25)
    assert curve.at(0.4) is None and curve.at(3.0) is None
