"""Keypoint names: their usual spellings, and names of no body."""

from __future__ import annotations

import pytest

from regressor.datasets.readers.joint_orders import COCO17
from regressor.datasets.readers.keypoint_names import named_layout, plain_name
from tokenizer.engine.errors import UserError


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("LBigToe", "left_big_toe"),
        ("left big-toe", "left_big_toe"),
        ("RShoulder", "right_shoulder"),
        ("rightKnee", "right_knee"),
        ("l_hip", "left_hip"),
        ("Lhip", "left_hip"),
        ("hip_left", "left_hip"),
        ("Nose", "nose"),
        ("MidHip", "mid_hip"),
        ("lbt", "left_big_toe"),
        ("rst", "right_small_toe"),
        ("REar", "right_ear"),
        ("leftshoulder", "left_shoulder"),
        ("LWri", "left_wrist"),
        ("LEFT_EYE", "left_eye"),
        ("root_of_tail", "root_of_tail"),
        ("right_smalltoe", "right_small_toe"),
        ("RHeel", "right_heel"),
    ],
)
def test_spellings_of_names(theirs, ours):
    assert plain_name(theirs) == ours


def test_names_of_another_kind_are_refused_with_both_lists():
    with pytest.raises(UserError, match=r"got thumb_0, thumb_1, .*expected .*nose, left_eye"):
        named_layout([f"thumb_{i}" for i in range(17)], "a")
    assert named_layout(["lh", "rh", *COCO17], "a")[:2] == ("", ""), "heels only beside toes"
