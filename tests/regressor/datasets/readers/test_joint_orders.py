"""Orders of joints by name."""

from __future__ import annotations

from regressor.datasets.readers.joint_orders import COCO17, COCO18, SMPL45
from tokenizer.body.skeleton import KEYPOINT_NAMES


def test_orders_of_joints():
    assert len(COCO17) == 17 and len(COCO18) == 18 and len(SMPL45) == 45
    assert COCO18[8] == "right_hip" and COCO17[9] == "left_wrist" and SMPL45[29] == "left_big_toe"
    for names in (COCO17, COCO18, SMPL45):
        known = [name for name in names if name]
        assert len(set(known)) == len(known) and set(known) <= set(KEYPOINT_NAMES[:25])
    assert set(SMPL45) - {""} == set(KEYPOINT_NAMES[:25])
