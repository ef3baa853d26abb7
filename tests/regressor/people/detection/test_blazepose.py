"""Anchors, crops and decoding, by hand and on recorded tensors of a photograph whose keypoints are annotated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from regressor.datasets.readers.joint_orders import COCO17
from regressor.people.detection.blazepose import (
    BODY,
    LANDMARK_NAMES,
    Region,
    anchors,
    decode_detections,
    decode_landmarks,
    refine_by_heat,
    region_of,
)


def test_anchors_stand_in_the_middle_of_cells_of_8_16_and_32_pixels():
    found = anchors()
    assert found.shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2) == (2254, 2)
    assert found[0] == pytest.approx([4 / 224, 4 / 224]) and found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx([12 / 224, 4 / 224]), "x runs first"
    assert found[28 * 28 * 2] == pytest.approx([8 / 224, 8 / 224])
    assert found[-1] == pytest.approx([208 / 224, 208 / 224])


def test_landmarks_have_the_33_names_of_blazepose():
    assert len(LANDMARK_NAMES) == 33 == len(set(LANDMARK_NAMES))
    at = {0: "nose", 2: "left_eye", 8: "right_ear", 11: "left_shoulder", 16: "right_wrist", 20: "right_index"}
    at |= {23: "left_hip", 28: "right_ankle", 29: "left_heel", 32: "right_foot_index"}
    assert {number: LANDMARK_NAMES[number] for number in at} == at
    assert LANDMARK_NAMES[BODY][0] == "left_shoulder" and set(COCO17) <= set(LANDMARK_NAMES)


@pytest.mark.parametrize(
    ("top", "angle"), [((50, 20), 0), ((80, 50), math.pi / 2), ((50, 80), math.pi), ((20, 50), -math.pi / 2)]
)
def test_the_region_is_turned_so_that_the_head_is_up(top, angle):
    region = region_of(np.array([50.0, 50.0]), np.array(top, float))
    assert region.side == pytest.approx(2 * 1.25 * 30) and region.centre == (50, 50)
    assert abs(region.angle) == pytest.approx(abs(angle)) and np.sin(region.angle) == pytest.approx(math.sin(angle))
    up = region.to_image(np.array([0.5, 0.1]))  # 0.4 of the side above the middle of the crop
    assert up == pytest.approx((50, 50) + (np.array(top) - 50) / 30 * 0.4 * 75)


def test_a_crop_shows_the_pixels_of_its_region():
    linear_and_offset = Region((10.0, 20.0), 8.0).image_from_crop(4)
    # Crop pixel 0 covers image pixels 6 and 7, so that its centre has the index 6.5.
    assert linear_and_offset == pytest.approx(np.array([[2, 0, 6.5], [0, 2, 16.5]]))
    turned = Region((10.0, 20.0), 8.0, math.pi / 2).image_from_crop(4)
    assert turned @ [0, 0, 1] == pytest.approx([12.5, 16.5]), "upper left of the crop: upper right of the image"
    for region in (Region((3.0, 4.0), 5.0, 0.3), Region((7.5, 1.0), 64.0, -2.0)):
        index = region.image_from_crop(256) @ [100, 31, 1]
        assert region.to_image(np.array([100.5, 31.5]) / 256) == pytest.approx(index + 0.5)


def test_detections_are_offsets_from_their_anchors():
    offsets, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9, np.float32)
    logits[2] = 2  # its anchor is at 12, 4 of 224 pixels
    offsets[2] = [2, 4, 20, 40, 10, 30, 10, -70, 0, 0, 0, 0]
    found = decode_detections(offsets, logits, Region((224.0, 112.0), 448.0), threshold=0.5)
    assert len(found) == 1 and found.scores == pytest.approx([1 / (1 + math.exp(-2))])
    # The window is twice as large as its crop, and begins at 0, -112.
    assert found.boxes == pytest.approx(np.array([[28 - 20, 16 - 40 - 112, 28 + 20, 16 + 40 - 112]]))
    assert found.hips == pytest.approx(np.array([[44, 68 - 112]]), abs=1e-4)
    assert found.region(0).side == pytest.approx(2 * 1.25 * 200) and found.region(0).angle == pytest.approx(0)
    assert len(decode_detections(offsets, logits, Region((0, 0), 1), threshold=0.9)) == 0


def test_recorded_detections_find_the_hips_of_the_skier(recorded, skier):
    whole = recorded.detections()[0]
    hips = skier[[COCO17.index("left_hip"), COCO17.index("right_hip")]].mean(0)
    best = int(np.argmax(whole.scores))
    assert whole.scores[best] > 0.8 and np.linalg.norm(whole.hips[best] - hips) < 20
    assert np.degrees(whole.region(best).angle) == pytest.approx(-20, abs=5), "she leans to the left"


def test_recorded_landmarks_lie_on_the_annotated_keypoints(recorded, skier):
    person = recorded.landmarks("upright")
    points = person.points[[LANDMARK_NAMES.index(name) for name in COCO17]]
    errors = np.linalg.norm(points - skier, axis=1) / 347  # the height of COCO's box
    assert errors.max() < 0.06 and np.median(errors) < 0.025
    assert person.score > 0.99 and person.visibility[[0, 11, 12, 23, 24]].min() > 0.99


def test_world_landmarks_turn_with_the_photograph(recorded):
    """The photograph was turned clockwise by 90°: x becomes y, and y becomes −x, of points and of metres."""
    upright, turned = recorded.landmarks("upright"), recorded.landmarks("turned")
    x, y = turned.points.T
    assert np.linalg.norm(np.stack([y, recorded.height - x], 1) - upright.points, axis=1).max() < 12
    x, y, z = turned.world.T
    difference = np.linalg.norm(np.stack([y, -x, z], 1) - upright.world, axis=1)
    assert difference.max() < 0.05
    assert np.linalg.norm(turned.world - upright.world, axis=1)[[0, 11, 27]].min() > 0.6, "and are not left as they are"


def test_world_landmarks_stand_upright_and_hands_and_feet_are_no_3d(recorded):
    person = recorded.landmarks("upright")
    height = {name: -person.world[LANDMARK_NAMES.index(name), 1] for name in LANDMARK_NAMES}
    assert height["nose"] > height["left_shoulder"] > 0.3 and -0.3 > height["left_knee"] > height["left_ankle"]
    assert person.world[23:25].mean(0) == pytest.approx([0, 0, 0], abs=1e-6)
    unused = [name for name, used in zip(LANDMARK_NAMES, person.has_world) if not used]
    parts = ("pinky", "index", "thumb", "heel", "foot_index")
    assert unused == [f"{side}_{part}" for part in parts for side in ("left", "right")]


def test_the_next_crop_follows_the_landmarks(recorded):
    person = recorded.landmarks("upright")
    hips = person.points[23:25].mean(0)
    assert np.linalg.norm(np.array(person.following.centre) - hips) < 20
    low, high = person.points.min(0), person.points.max(0)
    in_crop = (np.array([low, high]) - person.following.centre) / person.following.side
    assert np.abs(in_crop).max() < 0.55, "everything is in it"
    assert (high - low).max() > 0.6 * person.following.side, "and it is not much larger"


def test_points_move_to_the_centre_of_mass_of_their_heat():
    heat = np.full((64, 64, 4), -9, np.float32)
    heat[20, 30, 0] = heat[20, 32, 0] = 9
    heat[20, 30, 1] = -0.1  # below one half
    heat[0, 0, 2] = 9
    points = np.array([[30.5, 20.5], [30.5, 20.5], [1.2, 1.9], [-1.0, 70.0]]) / 64
    moved = refine_by_heat(points, heat) * 64
    assert moved[0] == pytest.approx([31, 20], abs=0.02)
    assert moved[1] == pytest.approx([30.5, 20.5]) and moved[3] == pytest.approx([-1, 70])
    assert moved[2] == pytest.approx([0, 0], abs=0.02), "windows are cut off at the edge"


def test_decoding_by_hand():
    values = np.zeros((39, 5), np.float32)
    values[:, :2] = 128
    values[0] = [128, 64, 0, 3, -3]
    values[33, :2], values[34, :2] = (128, 128), (192, 128)
    world = np.zeros((39, 3), np.float32)
    world[0], world[23], world[24] = (0, -0.5, 0.1), (0.1, 0, 0), (-0.1, 0, 0.2)
    region = Region((100.0, 50.0), 512.0, math.pi / 2)
    person = decode_landmarks(values.ravel(), world.ravel(), 0.7, np.full((64, 64, 39), -9, np.float32), region)
    assert person.points[0] == pytest.approx([100 + 128, 50]), "up in the crop is right in the image"
    assert person.visibility[0] == pytest.approx(1 / (1 + math.exp(-3)))
    assert person.presence[0] == pytest.approx(1 / (1 + math.exp(3)))
    assert person.world[0] == pytest.approx([0.5, 0, 0], abs=1e-6), "about the middle of the hips, whose depth is 0.1"
    assert person.score == 0.7 and person.following.centre == pytest.approx((100, 50))
    assert person.following.side == pytest.approx(2 * 1.25 * 128)
    assert person.following.angle == pytest.approx(math.pi)
