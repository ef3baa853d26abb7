"""Composed poses: what their names promise, within human limits, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenizer.body.rotations import axis_angle_to_matrix
from tokenizer.body.skeleton import body_index, index
from tokenizer.mocap.composed import ARMS, FAMILIES, Family, compose, family_poses


def joints_of(name: str, body, count: int = 40) -> dict[str, np.ndarray]:
    """Joints (count,3) of poses of a family by name, neither mirrored nor jittered, pelvis at the origin."""
    poses = torch.from_numpy(family_poses(FAMILIES[name], count, np.random.default_rng(0))).float()
    joints = body.joints(axis_angle_to_matrix(poses))
    joints = (joints - joints[:, :1]).numpy()
    names = [f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "ankle", "hip", "wrist", "foot")]
    return {joint: joints[:, index(joint)] for joint in (*names, "head", "neck")}


def test_the_seed_decides():
    assert np.array_equal(compose(50, 3), compose(50, 3)) and not np.array_equal(compose(50, 3), compose(50, 4))
    assert compose(7, 0).shape == (7, 21, 3) and compose(7, 0).dtype == np.float32
    assert compose(0, 0).shape == (0, 21, 3)


def test_families_and_sides_are_alike_and_every_joint_moves():
    poses = compose(4000, 0)
    assert np.isfinite(poses).all() and np.linalg.norm(poses, axis=-1).max() < np.pi
    spread = np.degrees(poses.std(0).max(-1))
    assert spread.min() > 1.5
    for joint in ("hip", "knee", "shoulder"):
        left, right = (np.linalg.norm(poses[:, body_index(f"{side}_{joint}")], axis=-1) for side in ("left", "right"))
        assert left.mean() == pytest.approx(right.mean(), rel=0.05)


def test_knees_and_elbows_bend_one_way():
    poses = np.concatenate([family_poses(family, 50, np.random.default_rng(1)) for family in FAMILIES.values()])
    for side, sign in (("left", -1), ("right", 1)):
        assert poses[:, body_index(f"{side}_knee"), 0].min() >= 0
        assert (sign * poses[:, body_index(f"{side}_elbow"), 1]).min() >= 0


def test_who_sits_has_the_knees_in_front_and_the_feet_below(open_body):
    joints = joints_of("chair", open_body)
    for side in ("left", "right"):
        assert joints[f"{side}_knee"][:, 2].min() > 0.2, "in front of the pelvis"
        assert (joints[f"{side}_ankle"][:, 1] < joints[f"{side}_knee"][:, 1] - 0.15).all()
    assert (joints["head"][:, 1] > 0.25).all()


def test_a_lunge_has_one_foot_in_front_and_one_behind(open_body):
    joints = joints_of("lunge", open_body)
    assert (joints["left_ankle"][:, 2] > joints["right_ankle"][:, 2] + 0.15).all()


def test_splits_and_straddles_spread_the_legs(open_body):
    splits, straddle = joints_of("splits", open_body), joints_of("straddle", open_body)
    assert (splits["left_ankle"][:, 2] - splits["right_ankle"][:, 2] > 0.8).all()
    assert (straddle["left_ankle"][:, 0] - straddle["right_ankle"][:, 0] > 0.8).all()


def test_a_fold_brings_the_head_to_the_knees_and_a_bridge_leads_it_back(open_body):
    fold, bridge = joints_of("fold", open_body), joints_of("bridge", open_body)
    assert (fold["head"][:, 2] > 0).all() and (fold["left_ankle"][:, 2] > 0.2).all()
    assert (bridge["head"][:, 2] < -0.1).all()


def test_families_name_arms_that_there_are():
    for family in (*FAMILIES.values(), Family(FAMILIES["chair"].leg)):
        assert {*family.arms} <= {*ARMS}
