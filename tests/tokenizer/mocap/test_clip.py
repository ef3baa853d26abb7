"""Checks of a clip, whatever its format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokenizer.engine.errors import UserError
from tokenizer.mocap.clip import canonical, checked_clip, checked_rate, jumping_frames, shape_in_joints

PATH = Path("walk.npz")


def test_root_and_body_are_parted():
    poses = np.zeros((2, 66))
    poses[:, 0], poses[:, 3] = 0.5, 0.25
    clip = checked_clip(PATH, poses, np.zeros((2, 3)), np.zeros(10), 30.0)
    assert clip.root[0].tolist() == [0.5, 0, 0] and clip.pose_body[0, 0].tolist() == [0.25, 0, 0]
    assert clip.pose_body.dtype == np.float32 and clip.pose_body.shape == (2, 21, 3)


def test_the_first_frame_that_is_not_finite_is_named():
    poses = np.zeros((5, 66))
    poses[3, 7] = np.nan
    with pytest.raises(UserError, match="first in frame 3"):
        checked_clip(PATH, poses, np.zeros((5, 3)), np.zeros(10), 30.0)


def test_a_translation_of_another_length_is_refused():
    with pytest.raises(UserError, match="translation of another length"):
        checked_clip(PATH, np.zeros((5, 66)), np.zeros((4, 3)), np.zeros(10), 30.0)


def test_the_first_number_stated_is_the_frame_rate():
    assert checked_rate(PATH, ["fast", np.array(120)]) == 120
    with pytest.raises(UserError, match="frame rate"):
        checked_rate(PATH, [0.0])


def test_rotations_beyond_half_a_turn_become_their_shorter_equal():
    np.testing.assert_allclose(canonical(np.array([1.5 * np.pi, 0, 0])), [-0.5 * np.pi, 0, 0])


def test_a_joint_that_leaps_within_a_frame_is_a_jump():
    poses = np.zeros((4, 21, 3))
    poses[2:, 5, 0] = np.radians(100)
    assert jumping_frames(poses, 30).tolist() == [False, False, True, False]
    assert not jumping_frames(poses, 10).any()


def test_misshapen_poses_are_counted_in_joints():
    assert shape_in_joints(np.zeros((9, 72))).startswith("(9, 72), 24 joints")
