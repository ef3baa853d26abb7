"""Augmentation of training poses."""

from __future__ import annotations

import torch

from tokenizer.body.rotations import axis_angle_to_matrix, geodesic_distance, mirror_rotations
from tokenizer.body.skeleton import BODY_JOINT_NAMES, body_index, mirror_permutation
from tokenizer.config import AugmentConfig
from tokenizer.training.augmentation import augment, disturb, visible_joints

POSES = axis_angle_to_matrix(0.5 * torch.randn(64, 21, 3, generator=torch.Generator().manual_seed(1)))


def generator():
    return torch.Generator().manual_seed(0)


def test_nothing_switched_on_changes_nothing():
    config = AugmentConfig(mirror=0, swap=0, noise_deg=0, mask=0)
    assert torch.equal(augment(POSES, config, generator()), POSES)
    assert torch.equal(disturb(POSES, config, generator()), POSES)
    assert visible_joints(64, config, generator()) is None


def test_mirror_of_probability_one_mirrors_every_pose():
    mirrored = augment(POSES, AugmentConfig(mirror=1, swap=0), generator())
    assert torch.equal(mirrored, mirror_rotations(POSES, mirror_permutation(BODY_JOINT_NAMES)))


def test_swapped_limbs_come_from_poses_of_the_batch_and_the_trunk_stays():
    swapped = augment(POSES, AugmentConfig(mirror=0, swap=1), generator())
    spine = BODY_JOINT_NAMES.index("spine1")
    elbow = BODY_JOINT_NAMES.index("left_elbow")
    assert torch.equal(swapped[:, spine], POSES[:, spine])
    assert not torch.equal(swapped[:, elbow], POSES[:, elbow])
    donors = (swapped[:, None, elbow] == POSES[None, :, elbow]).all(-1).all(-1)
    assert donors.any(1).all()


def test_poses_with_hidden_joints_keep_their_limbs():
    visible = torch.zeros(64, 21, dtype=torch.bool)
    assert torch.equal(augment(POSES, AugmentConfig(mirror=0, swap=1), generator(), visible), POSES)


def test_masks_hide_every_joint_at_probability_one():
    visible = visible_joints(5, AugmentConfig(mask=1, mask_share=1), generator())
    assert visible is not None and visible.shape == (5, 21) and not visible.any()


def test_turned_joints_turn_by_the_angle_of_their_kind_in_half_of_the_poses():
    poses = torch.eye(3).expand(4000, 21, 3, 3)
    turned = augment(poses, AugmentConfig(mirror=0, swap=0, turn_share=0.5), generator())
    angles = geodesic_distance(turned, poses).rad2deg()
    moved = angles[:, 0] > 0
    assert 0.47 < moved.float().mean() < 0.53 and not angles[~moved].any()
    rms = angles[moved].square().mean(0).sqrt()
    expected = {"left_collar": 20.0, "right_collar": 20.0, "spine3": 8.0, "left_foot": 12.0, "right_foot": 12.0}
    for joint, name in enumerate(BODY_JOINT_NAMES):
        torch.testing.assert_close(rms[joint], torch.tensor(expected.get(name, 6.0)), rtol=0.06, atol=0)


def test_masks_of_limbs_hide_one_or_two_whole_limbs():
    visible = visible_joints(400, AugmentConfig(mask_share=1, mask_limbs=1), generator())
    limbs = [
        [body_index(f"{side}_{joint}") for joint in joints]
        for side in ("left", "right")
        for joints in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
    ]
    hidden = torch.stack([~visible[:, limb] for limb in limbs])
    assert torch.equal(hidden.any(-1), hidden.all(-1))
    assert set(hidden.all(-1).sum(0).tolist()) == {1, 2}
    assert visible[:, [body_index(name) for name in ("spine1", "spine2", "spine3", "neck", "head")]].all()
