"""People as every source of keypoints yields them."""

from __future__ import annotations

import numpy as np
import pytest

from regressor.people.detection.detected_person import DetectedPerson, box_of_keypoints


@pytest.fixture
def person():
    points = np.array([[10, 20], [30, 60], [-1, 5], [-9, 5]], np.float32)
    return DetectedPerson(
        ("nose", "left_hip", "", "left_knee"), points, np.array([0.9, 0.4, 1, 0.5]), (0, 0, 9, 9), 1, "a"
    )


def test_points_are_taken_by_name(person):
    taken = person.ordered(("left_hip", "right_hip", "nose"))
    assert taken == pytest.approx(np.array([[30, 60, 0.4], [0, 0, 0], [10, 20, 0.9]]))
    assert person.ordered(("",)) == pytest.approx(np.zeros((1, 3))), "no name is no name"


def test_points_outside_the_image_are_not_known(person):
    inside = person.within(100, 50)  # two hundredths of 100 are still inside
    assert inside.confidence == pytest.approx([0.9, 0, 1, 0]) and inside.points is person.points
    assert inside.ordered(("left_hip",)) == pytest.approx(np.zeros((1, 3)))


def test_a_box_is_around_the_sure_points_with_a_margin():
    points = np.array([[0, 0], [10, 20], [90, 90]], float)
    assert box_of_keypoints(points, np.array([0.9, 0.5, 0.1])) == pytest.approx((-1, -2, 11, 22))
    assert box_of_keypoints(points, np.array([0.1, 0.1, 0.0])) == pytest.approx((-1, -2, 11, 22)), "what is known"
    assert box_of_keypoints(points, np.zeros(3)) == pytest.approx((-9, -9, 99, 99)), "or else all"
    assert box_of_keypoints(points, np.array([0, 0.9, 0])) == pytest.approx((9, 19, 11, 21)), "and it has an area"
