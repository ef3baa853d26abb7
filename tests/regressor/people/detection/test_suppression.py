"""Windows over an image, and one person found several times."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from regressor.people.detection.blazepose import Detections
from regressor.people.detection.suppression import joined, part_of_person, same_person, suppress, windows


@pytest.mark.parametrize(
    ("size", "count"), [((640, 425), 1 + 3 * 2), ((300, 300), 1 + 9), ((100, 400), 1 + 3), ((1, 1), 1), ((2, 1), 1 + 3)]
)
def test_windows_are_the_whole_and_overlapping_halves(size, count):
    whole, *halves = windows(*size)
    assert whole.side == max(size) and whole.centre == (size[0] / 2, size[1] / 2) and len(halves) + 1 == count
    assert {window.side for window in halves} <= {max(size) / 2}
    assert windows(*size, half_size=False) == [whole]


@pytest.mark.parametrize("size", [(640, 425), (1280, 853), (500, 500), (300, 1000)])
def test_each_place_of_an_image_is_well_inside_a_window_of_half_size(size):
    """A person half as large as such a window, wherever it stands, is wholly in one."""
    side = max(size) / 2
    axes = [sorted({window.centre[axis] for window in windows(*size)[1:]}) for axis in (0, 1)]
    for length, centres in zip(size, axes):
        assert centres[0] - side / 2 <= 0 and centres[-1] + side / 2 >= length
        assert all(right - left <= side / 2 + 1e-9 for left, right in pairwise(centres))


def detections(*rows):
    """(score, x0, y0, x1, y1) each; hips below the box and a top above it."""
    values = np.array(rows, np.float64).reshape(-1, 5)
    boxes = values[:, 1:]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Detections(values[:, 0], boxes, middle + np.array([0, 50]), middle - np.array([0, 50]))


def test_overlapping_detections_become_their_weighted_mean():
    found = suppress(
        detections((0.6, 0, 0, 10, 10), (0.9, 200, 0, 210, 10), (0.2, 4, 0, 14, 10), (0.7, 5.5, 0, 15.5, 10))
    )
    assert found.scores == pytest.approx([0.9, 0.7, 0.6])
    # Overlaps of 0.29 with the surest of the left ones do not count; those of 0.74 do.
    assert found.boxes[1] == pytest.approx([5.5 - 1.5 * 0.2 / 0.9, 0, 15.5 - 1.5 * 0.2 / 0.9, 10])
    assert found.hips[1] == pytest.approx([10.5 - 1.5 * 0.2 / 0.9, 55])
    assert found.boxes[2] == pytest.approx([0, 0, 10, 10])


def test_nobody_stays_nobody():
    assert len(suppress(detections())) == 0
    assert len(suppress(joined([detections(), detections((0.9, 0, 0, 1, 1))]))) == 1


def test_recorded_windows_see_one_skier(recorded):
    """Seven windows answer dozens of times; her detection of the highest score is where all others of her were."""
    parts = recorded.detections()
    assert len(parts) == 7 and sum(map(len, parts)) > 20
    found = suppress(joined(parts))
    assert len(found) < 8, "what is left are glimpses of her in small windows, which landmarks settle"
    whole = suppress(parts[0])
    assert len(whole) == 1
    assert np.linalg.norm(found.hips[0] - whole.hips[0]) < 30


def test_people_are_told_apart_by_their_keypoints(recorded):
    person = recorded.landmarks("upright")
    side = person.following.side
    assert same_person(person, replace(person, points=person.points + np.array([0.05 * side, 0])))
    assert not same_person(person, replace(person, points=person.points + np.array([0.07 * side, 0])))
    face_moved = person.points.copy()
    face_moved[:11] += side
    assert same_person(person, replace(person, points=face_moved)), "faces do not count"


def test_a_figure_in_part_of_a_person_is_none_but_a_child_in_front_is(recorded):
    adult = recorded.landmarks("upright")
    middle = adult.points.mean(0)
    small = replace(adult, points=middle + (adult.points - middle) * 0.3)
    assert not part_of_person(small, adult), "as visible as the adult"
    unsure = replace(small, visibility=adult.visibility * 0.5)
    assert part_of_person(unsure, adult) and not part_of_person(adult, unsure)
    assert not part_of_person(replace(unsure, points=unsure.points + np.array([400, 0])), adult), "beside her"
    assert not part_of_person(replace(adult, visibility=adult.visibility * 0.5), adult), "as large"
