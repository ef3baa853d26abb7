"""Names of joints and keypoints, and their mirror images."""

from __future__ import annotations

import pytest

from tokenizer.body import skeleton
from tokenizer.body.skeleton import (
    BODY_JOINT_NAMES,
    JOINT_NAMES,
    KEYPOINT_NAMES,
    body_index,
    index,
    mirror_permutation,
    mirrored,
)
from tokenizer.engine.errors import UserError


def test_joints_stand_in_smpls_order():
    assert (index("pelvis"), index("left_hip"), index("right_wrist"), len(JOINT_NAMES)) == (0, 1, 21, 24)
    assert body_index("left_hip") == 0 and JOINT_NAMES[1:22] == BODY_JOINT_NAMES and len(KEYPOINT_NAMES) == 44


def test_a_mistyped_joint_names_the_nearest():
    with pytest.raises(UserError, match="left_elbow"):
        index("left_elbov")


def test_mirroring_twice_is_nothing():
    assert mirrored("left_knee") == "right_knee" and mirrored("neck") == "neck"
    permutation = mirror_permutation(JOINT_NAMES)
    assert [permutation[i] for i in permutation] == list(range(24))
    assert permutation[1] == 2


def test_joints_by_name():
    assert skeleton.index("left_knee") == 4 and skeleton.body_index("left_knee") == 3
    with pytest.raises(UserError, match="left_knee"):
        skeleton.index("left_kne")
    for names in (skeleton.JOINT_NAMES, skeleton.KEYPOINT_NAMES):
        permutation = skeleton.mirror_permutation(names)
        assert [permutation[i] for i in permutation] == list(range(len(names)))
    assert len(skeleton.KEYPOINT_NAMES) == 44
