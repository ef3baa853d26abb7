"""The picture of the drift experiment."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipelines import drift as experiment
from pipelines.descent import Curve
from pipelines.drift_chart import drift_chart

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def few_trials(monkeypatch):
    monkeypatch.setattr(experiment, "_TRIED", 3)


def test_the_picture_keeps_points_inside():
    curves = [
        Curve("free 6D", "plain", [3.0, 0.3], [0.0, 50.0], [0.0, 30.0]),
        Curve("tokens", "TALS, weight 0", [4.0, 4.0], [15.0, 15.0], [14.0, 14.0]),
    ]
    picture = ElementTree.fromstring(drift_chart(curves))
    width, height = (float(picture.get(name)) for name in ("width", "height"))
    for circle in picture.findall(f"{SVG}circle"):
        assert 0 < float(circle.get("cx")) < width and 0 < float(circle.get("cy")) < height
    still = Curve("free 6D", "plain", [1.0, 1.0], [0.0, 0.0], [0.0, 0.0])
    ElementTree.fromstring(drift_chart([still]))
