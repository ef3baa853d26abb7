"""What the models answered to a photograph of a skier, recorded by ``record.py``; when live tests run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regressor.people.detection.blazepose import Detections, Region, decode_detections, decode_landmarks
from regressor.people.detection.model_files import is_installed
from regressor.people.detection.suppression import windows

ANCHORS = 2254


def pytest_collection_modifyitems(config, items):
    """Live tests need models: without them they are left out, unless ``-m detector`` asks for them; then they fail."""
    if "detector" in config.option.markexpr.replace("not detector", "") or is_installed():
        return
    live = [item for item in items if item.get_closest_marker("detector")]
    if live:
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]


class Recorded:
    """The recorded arrays, as the models answer them."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.width, self.height = (int(side) for side in arrays["size"])

    def answer(self, number):
        """Offsets (2254,12) and logits (2254,) of the detector in the window of that number."""
        offsets, logits = np.zeros((ANCHORS, 12), np.float32), np.full(ANCHORS, -100, np.float32)
        rows = self.arrays["detections"]
        rows = rows[rows[:, 0] == number]
        logits[rows[:, 1].astype(int)], offsets[rows[:, 1].astype(int)] = rows[:, 2], rows[:, 3:]
        return offsets, logits

    def detections(self, threshold=0.5) -> list[Detections]:
        parts = []
        for number, window in enumerate(windows(self.width, self.height)):
            offsets, logits = self.answer(number)
            parts.append(decode_detections(offsets, logits, window, threshold))
        return parts

    def landmarks(self, name):
        """The person in the photograph, ``upright``, or in the same ``turned`` clockwise by 90°."""
        x, y, side, angle = self.arrays[f"{name}_region"]
        heat = self.arrays[f"{name}_heat"].astype(np.float32) / 8
        score = self.arrays[f"{name}_score"][0]
        region = Region((x, y), side, angle)
        return decode_landmarks(self.arrays[f"{name}_landmarks"], self.arrays[f"{name}_world"], score, heat, region)


@pytest.fixture(scope="session")
def recorded():
    return Recorded(dict(np.load(Path(__file__).with_name("recorded.npz"))))


@pytest.fixture(scope="session")
def skier():
    """COCO's annotation of the photograph (val2017, 785): 17 keypoints x, y; all are visible."""
    text = (
        "367 81 374 73 360 75 386 78 356 81 399 108 358 129 433 142 341 159 449 165 309 178 424 203 393 214 429 294 "
        "367 273 466 362 396 341"
    )
    return np.array(text.split(), float).reshape(17, 2)
