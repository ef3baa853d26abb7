"""One shard: stored pictures are small, any number of people in an image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from image_data_sets import smooth_image

from regressor.datasets.annotation import ImageRecord, Person
from regressor.datasets.prepare import StoreOptions, people_of
from regressor.datasets.shard_file import encode_person


def test_what_is_stored_is_wide_and_small():
    row = encode_person(smooth_image(), np.array([60.0, 35, 140, 115]), margin=1.5, pixels=40, quality=90)
    assert row["stored"].tolist() == [40, 15, 160, 135]
    assert cv2.imdecode(np.frombuffer(row["jpeg"], np.uint8), 1).shape == (60, 60, 3)


@pytest.mark.parametrize("count", [0, 1, 500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_number_of_people_in_one_image(count):
    person = Person(np.array([10.0, 10, 14, 14]))
    rows, left = people_of(ImageRecord("crowd", smooth_image(), (person,) * count), StoreOptions())
    assert len(rows) == count and bool(left) == (not count)
