"""Augmentation of training poses."""

from __future__ import annotations

import torch

from tokenizer.body.rotations import axis_angle_to_matrix, mirror_rotations
from tokenizer.body.skeleton import BODY_JOINT_NAMES, mirror_permutation
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
