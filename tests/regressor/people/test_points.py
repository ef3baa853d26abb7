"""What a keypoint regressor sees of people whom a detector, or a file, names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regressor.people.detection.detected_person import DetectedPerson
from regressor.people.points import DetectedPoints, detected_points
from tokenizer.body.camera import intrinsics
from tokenizer.body.keypoints import DETECTOR_POINTS

K = intrinsics(torch.tensor(500.0), 640, 480)


def person(names, points, confidence=None, **changes):
    confidence = np.ones(len(names), np.float32) if confidence is None else np.array(confidence, np.float32)
    return DetectedPerson(tuple(names), np.array(points, np.float32), confidence, (0, 0, 1, 1), 1.0, "test", **changes)


def row(name):
    return DETECTOR_POINTS.index(name)


def pixels(seen, name):
    side = seen.boxes[0, 2] - seen.boxes[0, 0]
    return (seen.evidence.points[0, row(name), :2] + 0.5) * side + seen.boxes[0, :2]


def test_points_are_taken_by_name_and_the_box_is_around_them():
    seen = detected_points([person(["right_knee", "nose", "thumb"], [[30, 90], [50, 10], [0, 0]])], K, assumed=True)
    assert seen.boxes[0].tolist() == [0, 10, 80, 90]
    assert pixels(seen, "right_knee").tolist() == pytest.approx([30, 90])
    assert (seen.evidence.points[0, :, 2] > 0).sum() == 2 and not seen.evidence.has_hints.any()
    assert seen.assumed.tolist() == [True]


def test_tips_of_feet_come_from_whatever_a_detector_finds_there():
    names = ["left_foot_index", "right_big_toe", "right_small_toe", "nose", "left_hip"]
    seen = detected_points([person(names, [[10, 90], [20, 80], [30, 90], [50, 10], [50, 50]])], K, assumed=False)
    assert pixels(seen, "left_toes").tolist() == pytest.approx([10, 90])
    assert pixels(seen, "right_toes").tolist() == pytest.approx([24, 84])


def test_hopeless_points_are_not_seen():
    names, points = ["nose", "left_hip", "right_hip"], [[50, 10], [40, 50], [60, np.nan]]
    seen = detected_points([person(names, points, [0.9, 0.01, 1.0])], K, assumed=False)
    assert seen.evidence.points[0, row("nose"), 2] == pytest.approx(0.91)
    assert seen.evidence.points[0, [row("left_hip"), row("right_hip")], 2].tolist() == [0, 0]
    assert seen.evidence.points.isfinite().all() and seen.boxes.isfinite().all()


def test_landmarks_are_about_the_hips_and_only_where_there_are_some():
    names = ["left_hip", "right_hip", "left_wrist", "left_heel", "nose"]
    world = np.array([[0.2, 0, 1], [0, 0, 1], [0.5, -0.5, 1], [0, 1, 1], [9, 9, 9]], np.float32)
    has = np.array([True, True, True, True, False])
    places = [[10, 10], [20, 10], [30, 30], [20, 90], [20, 5]]
    seen = detected_points([person(names, places, points_3d=world, has_3d=has)], K, assumed=False)
    assert seen.evidence.hints[0, row("left_wrist")].tolist() == pytest.approx([0.4, -0.5, 0], abs=1e-6)
    assert not seen.evidence.has_hints[0, [row("left_heel"), row("nose")]].any()
    assert not seen.evidence.hints[0, row("nose")].any()


def test_people_of_several_images_keep_their_cameras():
    first = detected_points([person(["nose"], [[5, 5]])] * 2, K, assumed=True)
    second = detected_points([person(["nose"], [[7, 7]])], 2 * K, assumed=False)
    joined = DetectedPoints.join([first, second])
    assert joined.evidence.points.shape == (3, 25, 3) and joined.assumed.tolist() == [True, True, False]
    assert torch.equal(joined.K[2], 2 * K) and joined.boxes.shape == (3, 4)
