"""A photograph that is opened: its camera, and a person for each box where somebody knows more than the box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from encoded_pictures import encoded, picture
from exif_blocks import exif, with_exif

from regressor.people import opening
from regressor.people.cameras import CameraOptions
from regressor.people.detection.detected_person import DetectedPerson
from regressor.people.jobs import Job
from regressor.people.opening import Opener
from tokenizer.engine.errors import UserError

POINTS = np.array([[40.0, 10], [50, 30]], np.float32)
PERSON = DetectedPerson(("nose", "left_ankle"), POINTS, np.ones(2, np.float32), (30.0, 5.0, 60.0, 35.0), 0.9, "a file")


class Known:
    """A source of keypoints that has these people of every image."""

    source = "a file"

    def __init__(self, *people):
        self.everybody = list(people)

    def people(self, image, path):
        return self.everybody


class LooksIntoBoxes:
    """In place of the detector: who is asked for is at the left of the image."""

    source = "blazepose-heavy"

    def in_box(self, image, box):
        return replace(PERSON, box=box) if box[0] < 30 else None


@pytest.fixture
def image(tmp_path):
    (tmp_path / "me.jpg").write_bytes(with_exif(encoded(".jpg", picture()), exif(36, (60, 40))))
    return tmp_path / "me.jpg"


def test_the_camera_is_that_of_exif_unless_one_is_given(image):
    opened = Opener().open(Job(image, "me", ((1.0, 2.0, 20.0, 30.0),)))
    assert opened.pixels.shape == (40, 60, 3) and opened.camera.source == "EXIF: 36 mm on 35 mm film"
    assert float(opened.camera.K[0, 0]) == pytest.approx(60, rel=1e-3)
    given = Opener(CameraOptions(focal_px=77)).open(Job(image, "me"))
    assert float(given.camera.K[0, 0]) == 77 and given.boxes == ((0, 0, 60, 40),)


def test_of_a_box_nothing_but_the_box_is_known(image):
    opened = Opener().open(Job(image, "me", ((1.0, 2.0, 20.0, 30.0), (5.0, 2.0, 20.0, 30.0))))
    assert opened.people == (None, None)


def test_a_source_gives_each_box_its_person(image):
    opened = Opener(source=Known(PERSON, PERSON)).open(Job(image, "me", detect=True))
    assert opened.boxes == (PERSON.box,) * 2 and opened.people == (PERSON, PERSON) and not opened.notes


def test_who_is_outside_or_of_no_confidence_is_noted(image):
    outside = replace(PERSON, box=(70.0, 5.0, 90.0, 35.0))
    unsure = replace(PERSON, confidence=np.zeros(2, np.float32))
    tiny = replace(PERSON, box=(10.0, 10.0, 10.5, 20.0))
    opened = Opener(source=Known(outside, PERSON, unsure, tiny)).open(Job(image, "me", detect=True))
    assert opened.people == (PERSON,)
    assert opened.notes == [f"3 of 4 people of {image} have no keypoint inside it"]
    nobody = Opener(source=Known()).open(Job(image, "me", detect=True))
    assert nobody.boxes == () and nobody.people == () and not nobody.notes


def test_where_keypoints_are_needed_the_detector_looks_into_given_boxes(image, monkeypatch):
    monkeypatch.setattr(opening, "Detector", LooksIntoBoxes)
    boxes = ((1.0, 2.0, 20.0, 30.0), (5.0, 2.0, 20.0, 30.0))
    opened = Opener(keypoints=True).open(Job(image, "me", boxes))
    assert [person.box for person in opened.people] == list(boxes)
    whole = Opener(keypoints=True).open(Job(image, "me"))
    assert whole.people[0].box == (0, 0, 60, 40)
    with pytest.raises(UserError, match=r"No person is seen in .*me.jpg; got box 40,2,55,30\. Check the box"):
        Opener(keypoints=True).open(Job(image, "me", ((40.0, 2.0, 55.0, 30.0),)))
